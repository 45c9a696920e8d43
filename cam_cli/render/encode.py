"""The picture formats that are written, and how a picture of a run is read back."""

import io
from collections.abc import Callable
from typing import Final

from PIL import Image

from cam_cli.render.png import png

JPEG_QUALITY = 88
"""Of overlays and sheets: a seventh of the bytes of a PNG, with no difference to the eye."""


def jpeg(picture: Image.Image) -> bytes:
    """Encode a picture as JPEG."""
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


ENCODERS: Final[dict[str, Callable[[Image.Image], bytes]]] = {"jpeg": jpeg, "png": png}
"""By the word of the setting `picture_format`, which is also Pillow's; `results.layout.PICTURE_FORMATS` has the endings."""

_MOST_PIXELS = 2**26


def read_picture(data: bytes) -> Image.Image:
    """Return a picture that one of `ENCODERS` made; raises OSError if it is damaged, or larger than any picture of a run."""
    try:
        with Image.open(io.BytesIO(data), formats=tuple(map(str.upper, ENCODERS))) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise OSError("larger than any picture of a run")
            picture.load()
            return picture
    except (ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise OSError(str(error)) from error
