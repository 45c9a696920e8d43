"""From every pixel format a file can hold to 8-bit RGB, keeping what a person would see."""

import io
from contextlib import suppress

import numpy as np
from PIL import Image, ImageCms

from cam_cli.images.views import to_8_bits


def to_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Convert a loaded Pillow image to mode RGB; also note each change that lost or added something.

    Raises ImageError, stage `decode`, for a floating-point image without a finite value.
    """
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _from_deep_grey(image)
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if image.has_transparency_data:
        return _over_white(image)
    return image.convert("RGB"), ()


def _from_deep_grey(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    grey, note = to_8_bits(np.asarray(image))
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
