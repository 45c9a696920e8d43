"""The image formats that are read, all of them by Pillow."""

from typing import Final

FORMATS: Final = {
    "JPEG": ("jpg", "jpeg"),
    "PNG": ("png",),
    "WebP": ("webp",),
    "GIF": ("gif",),
    "BMP": ("bmp",),
    "TIFF": ("tif", "tiff"),
}
"""File endings by format, in lower case. A name in upper case is what Pillow calls the format.

One more format that Pillow reads needs a row here. A format that it does not read also needs a branch in `decode.decode`.
"""

IMAGE_EXTENSIONS: Final = frozenset(extension for extensions in FORMATS.values() for extension in extensions)
