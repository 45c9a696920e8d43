"""What a file is, told from its first bytes, whatever its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cam_cli.errors import ImageError
from cam_cli.images.formats import EXTRAS, FORMATS, install

_RAW = "a camera's raw file", "develop it to JPEG or TIFF, with darktable-cli or dcraw -T"
_VIDEO = "a video", "take frames out of it: ffmpeg -i FILE frame%05d.png"
_SVG = "an SVG drawing", "draw it as PNG first: rsvg-convert FILE -o a.png"
_ARCHIVE = "unpack it first"
_HTML = "an HTML page", "a server may have sent it instead of the image; fetch the image again"
_CONVERT = "convert it to PNG or TIFF first"
_EXPORT = "export it as PNG or TIFF first"

_READ: Final[tuple[tuple[bytes, str], ...]] = (
    (rb".{128}DICM", "DICOM"),  # first, as what comes before may be the header of a TIFF
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"GIF8[79]a", "GIF"),
    (rb"BM", "BMP"),
    (rb"RIFF....WEBP", "WebP"),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "TIFF"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"....ftyp(?:avif|avis)", "AVIF"),
    (rb"....ftyp(?:mif1|msf1|miaf).{4,48}(?:avif|avis)", "AVIF"),
    (rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", "HEIC"),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (rb"[\x02\x08]\0[\x00-\x18]\0(?:UL|CS|UI|OB|[\x02-\x40]\0\0\0)", "DICOM"),
    (rb"\x93NUMPY|PK\x03\x04.{26}[^/\0]{1,200}?\.npy", "NumPy"),
    (rb"P[1-6fF][\s#]", "PPM"),
)
"""The formats that are read, by what their files begin with."""

_OTHER: Final[tuple[tuple[bytes, str, str], ...]] = (
    (rb"(?:II\*\0|MM\0\*).{4}CR|....ftypcrx |FUJIFILMCCD-RAW|II(?:RO|RS|U\0)|MMOR|FOVb|II.{4}HEAPCCDR|\0MRM", *_RAW),
    (rb"8BPS", "a Photoshop file", _EXPORT),
    (rb"%PDF", "a PDF document", "draw its page first: pdftoppm -png FILE page"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript drawing", "draw it as PNG first: gs -sDEVICE=png16m -r150 -o a.png FILE"),
    (rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*(?:<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]", *_SVG),
    (rb"\s*(?:<!doctype html|<html|<head|<body)", *_HTML),
    (rb"version https://git-lfs", "a pointer of Git LFS instead of the image", "fetch the image: git lfs pull"),
    (rb"....(?:ftyp|moov|mdat|wide|skip|free)|\x1a\x45\xdf\xa3|RIFF....AVI |\0\0\x01[\xba\xb3]|FLV\x01|OggS", *_VIDEO),
    (rb"\x30\x26\xb2\x75", *_VIDEO),
    (rb"gimp xcf", "a GIMP file", _EXPORT),
    (rb"v/1\x01", "an OpenEXR image", "map its tones to 8 bits, and save it as PNG, first"),
    (rb"#\?R(?:ADIANCE|GBE)", "a Radiance HDR image", "map its tones to 8 bits, and save it as PNG, first"),
    (rb"\0\0[\x01\x02]\0[^\0]\0", "an icon or cursor", _CONVERT),
    (rb"icns", "an icon of macOS", _CONVERT),
    (rb"DDS ", "a DirectDraw texture", _CONVERT),
    (rb"qoif", "a QOI image", _CONVERT),
    (rb"\x01\xda[\0\x01][\x01\x02]", "an SGI image", _CONVERT),
    (rb"\x0a[\0\x02-\x05][\0\x01][\x01\x02\x04\x08]", "a PCX image", _CONVERT),
    (rb"II\xbc\x01", "a JPEG XR image", _CONVERT),
    (rb"BPG\xfb", "a BPG image", _CONVERT),
    (rb"FLIF", "a FLIF image", _CONVERT),
    (rb"AT&TFORM", "a DjVu document", "draw its page first: ddjvu -format=tiff FILE page.tif"),
    (rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", "a Windows metafile", _CONVERT),
    (rb"SIMPLE  =", "a FITS image", "save its array as .npy, or as TIFF, first"),
    (rb".{344}n[+i]1\0", "a NIfTI volume", "save its slices as .npy, or as TIFF, first"),
    (rb"NRRD000", "an NRRD volume", "save its slices as .npy, or as TIFF, first"),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file", "save its array as .npy first"),
    (rb"PK\x03\x04", "a ZIP archive", _ARCHIVE),
    (rb"\x1f\x8b", "a gzip file", _ARCHIVE),
    (rb"Rar!|7z\xbc\xaf|\xfd7zXZ|BZh[1-9]", "an archive", _ARCHIVE),
)  # fmt: skip
"""Other files that people take for images: what each is, and what to do with it."""

_BY_ENDING: Final = {
    "tga": "a TGA image", "pcx": "a PCX image", "qoi": "a QOI image", "sgi": "an SGI image", "rgb": "an SGI image",
    "ico": "an icon", "cur": "a cursor", "icns": "an icon of macOS", "dds": "a DirectDraw texture", "wbmp": "a WBMP image",
    "xbm": "an XBM image", "xpm": "an XPM image", "ras": "a Sun raster image", "pict": "a PICT image", "jls": "a JPEG-LS image",
}  # fmt: skip
"""Images by the ending of their name, for those whose content does not say what they are."""

_HEAD = 512


@dataclass(frozen=True)
class Kind:
    """What a file is: the name of its format, and the extra that reads it if Pillow and NumPy do not."""

    name: str
    extra: str = ""

    @property
    def called(self) -> str:
        """The name with its article: `a TIFF image`, `an AVIF image`."""
        what = "file" if self.name in {"DICOM", "NumPy"} else "image"
        return f"{'an' if self.name in {'AVIF', 'HEIC'} else 'a'} {self.name} {what}"


def kind_of(data: bytes, ending: str = "") -> Kind:
    """Tell what a file is.

    Args:
        data: its first bytes, or all.
        ending: of its name, in lower case and without the dot; it counts only where the content says nothing.

    Raises:
        ImageError: stage `decode`; it is known and not read, or not known.
    """
    head = data[:_HEAD]
    if re.match(_OTHER[0][0], head, re.DOTALL):  # some begin as a TIFF does
        raise unsupported(*_RAW)
    for opening, name in _READ:
        if re.match(opening, head, re.DOTALL):
            extra = next((extra for extra, formats in EXTRAS.items() if name in formats), "")
            return Kind(name, extra)
    for pattern, what, advice in _OTHER[1:]:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            raise unsupported(what, advice)
    if ending in _BY_ENDING:
        raise unsupported(f"{_BY_ENDING[ending]} by its ending", _CONVERT)
    *names, last = FORMATS
    raise ImageError(
        f"not a {', '.join(names)} or {last} image, or one cut short in its header (the file begins with {data[:16]!r})",
        stage="decode",
    )


def unsupported(what: str, advice: str) -> ImageError:
    """Return the refusal of a file that is what it should be, but that is not read."""
    return ImageError(f"{what}, which is not read; {advice}", stage="decode")


def needs(what: str, extra: str) -> ImageError:
    """Return the refusal of a file that an extra reads, if that is not installed."""
    return ImageError(f"{what}, which needs the extra `{extra}`: {install(extra)}", stage="decode")
