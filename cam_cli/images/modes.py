"""From every pixel format a file can hold to 8-bit RGB, keeping what a person would see."""

import io
from contextlib import suppress

import numpy as np
from PIL import Image, ImageCms

from cam_cli.images.image import Values
from cam_cli.images.views import to_8_bits

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO = 0


def to_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Convert a loaded Pillow image to mode RGB; also note each change that lost or added something.

    Raises ImageError, stage `decode`, for a floating-point image without a finite value.
    """
    if (values := _misread(image)) is not None:
        grey, note = to_8_bits(values)
        return Image.fromarray(grey).convert("RGB"), (note,)
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _from_deep_grey(image)
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if image.has_transparency_data:
        return _over_white(image)
    return image.convert("RGB"), ()


def _misread(image: Image.Image) -> Values | None:
    """Return the values of a grey TIFF whose whole numbers Pillow takes for signed or unsigned ones, wrongly."""
    tags = getattr(image, "tag_v2", None) or {}
    held = image.mode, tags.get(_SAMPLE_FORMAT, (1,))[0], tags.get(_BITS_PER_SAMPLE, (1,))[0]
    if held == ("I", 1, 32):
        return np.asarray(image).view(np.uint32)
    return np.asarray(image).view(np.int8) if held == ("L", 2, 8) else None


def _from_deep_grey(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    grey, note = to_8_bits(np.asarray(image))
    tags = getattr(image, "tag_v2", None) or {}
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow turns round 8 bits alone
        grey = 255 - grey
    return Image.fromarray(grey).convert("RGB"), (note,)


def _from_cmyk(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    if profile := image.info.get("icc_profile"):
        with suppress(ImageCms.PyCMSError, OSError):
            own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            if rgb := ImageCms.profileToProfile(image, own, srgb, outputMode="RGB"):
                return rgb, ("CMYK converted to RGB through its embedded profile",)
    return image.convert("RGB"), ("CMYK converted to RGB without a usable profile: colours are approximate",)


def _over_white(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    rgba = image.convert("RGBA")
    lowest, _ = rgba.getchannel("A").getextrema()
    if lowest == 255:
        return rgba.convert("RGB"), ()
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB"), ("transparent parts laid over white",)
