"""Noise with the spectrum of natural images, for trials without an image file."""

from collections.abc import Iterator

import numpy as np

from cam_cli.images.image import RgbImage
from cam_cli.images.views import view


def natural_noise(rows: int, columns: int, bands: int = 3) -> Iterator[RgbImage]:
    """Yield four images of random phase whose amplitude falls with 1 / frequency, as that of natural images does.

    The same images every time. Those of another number of bands than 3 have them as their `values`, in 0 to 255 too. (Field
    1987, "Relations between the statistics of natural images and the response properties of cortical cells".)
    """
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns))
    frequency[0, 0] = np.inf
    draw = np.random.default_rng(0)
    for _ in range(4):
        noise = np.fft.rfft2(draw.normal(size=(bands, rows, columns))) / frequency
        values = np.moveaxis(np.fft.irfft2(noise, (rows, columns)), 0, -1)
        pixels = np.clip(128 + 50 * values / values.std(), 0, 255).astype(np.uint8)
        yield (
            RgbImage(pixels, columns, rows, ()) if bands == 3 else RgbImage(view(pixels)[0], columns, rows, (), pixels)
        )
