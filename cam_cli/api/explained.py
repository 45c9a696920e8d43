"""What `call.explain` returns: an image's predictions and its maps, which draw and save themselves."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.engine.maps import SaliencyMap
from cam_cli.errors import UsageError
from cam_cli.images.fit import InputBox
from cam_cli.methods import METHODS
from cam_cli.render.picture import drawn, heatmap, overlay, placard
from cam_cli.render.upsample import upsample
from cam_cli.results.manifest import Prediction
from cam_cli.text import shown

_GAP = 8
_GREY = 96


@dataclass(frozen=True, repr=False)
class ExplainedMap:
    """One map of one image.

    target: the class that it explains, with its probability. saliency: all that the engine knows of it. picture: the image,
    (height, width, 3) uint8. box: where the network's input lies in it. colormap, opacity: how it is drawn unless said
    otherwise.
    """

    target: Prediction
    saliency: SaliencyMap
    picture: NDArray[np.uint8]
    box: InputBox
    colormap: str
    opacity: float

    @property
    def map(self) -> NDArray[np.float32]:
        """The map, (h, w) float32 at the layer's resolution, not normalised."""
        return self.saliency.values

    @property
    def layer(self) -> str:
        """Path of the layer."""
        return self.saliency.layer

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.saliency.method

    @property
    def state(self) -> str:
        """`ok`, `blank` (no value above 0) or `nonfinite`."""
        return self.saliency.state

    @property
    def standard_error(self) -> float | None:
        """Over the noise, as a share of the map's peak; None if it is unknown."""
        return self.saliency.standard_error

    @property
    def noise_effect(self) -> float | None:
        """Correlation with the map without noise; None if it is unknown."""
        return self.saliency.noise_effect

    def heatmap(self, colormap: str | None = None) -> Image.Image:
        """Return the map in colour at the picture's size; a blank or non-finite map as a grey picture that says so."""
        values = self._enlarged()
        if values is None:
            return placard(np.full_like(self.picture, _GREY), f"{self.state} map")
        return heatmap(values, colormap or self.colormap).convert("RGB")

    def overlay(self, colormap: str | None = None, opacity: float | None = None) -> Image.Image:
        """Return the map over the image; `opacity` is the weight of the colour, 0..1, where the map is largest."""
        values = self._enlarged()
        if values is None:
            return placard(self.picture, f"{self.state} map")
        return overlay(self.picture, values, colormap or self.colormap, self.opacity if opacity is None else opacity)

    def save(self, path: str | Path) -> None:
        """Write the overlay as the picture that the path's ending says, or the map itself to a `.npy` file.

        Raises UsageError if it cannot be written.
        """
        if Path(path).suffix.lower() == ".npy":
            np.save(path, self.map, allow_pickle=False)
        else:
            _save(self.overlay(), path)

    def _enlarged(self) -> NDArray[np.float32] | None:
        """Return what is drawn, (height, width) in 0..1, NaN outside the network's input; None if there is nothing to draw."""
        if self.state != "ok":
            return None
        height, width = self.picture.shape[:2]
        values = drawn(self.map, METHODS[self.method].drawing)
        return upsample(values, self.box, (width, height), self.saliency.window)

    def _repr_png_(self) -> bytes:
        return _png(self.overlay())

    def __repr__(self) -> str:
        rows, columns = self.map.shape
        return f"<{self.method} of {_named(self.target)} at {self.layer}, {rows}x{columns}, {self.state}>"


@dataclass(frozen=True, repr=False)
class ExplainedImage:
    """What a classifier predicts for an image, and the maps of what it looked at.

    A notebook shows the overlays. The properties of the map are those of the only one; with several, `maps` has each.

    Args:
        name: path of the image, or what it was given as.
        predictions: the five most likely classes, the most likely first.
        maps: one for each layer, target, method and selection.
        notes: what was changed when the image was read.
        remarks: what was decided about the model.
    """

    name: str
    predictions: tuple[Prediction, ...]
    maps: tuple[ExplainedMap, ...]
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def prediction(self) -> Prediction:
        """The most likely class: index, label, wnid, probability, logit."""
        return self.predictions[0]

    @property
    def map(self) -> NDArray[np.float32]:
        """See `ExplainedMap.map`."""
        return self._only.map

    @property
    def target(self) -> Prediction:
        """The class that is explained, with its probability."""
        return self._only.target

    @property
    def layer(self) -> str:
        """Path of the layer."""
        return self._only.layer

    @property
    def method(self) -> str:
        """Name of the method."""
        return self._only.method

    @property
    def state(self) -> str:
        """See `ExplainedMap.state`."""
        return self._only.state

    @property
    def standard_error(self) -> float | None:
        """See `ExplainedMap.standard_error`."""
        return self._only.standard_error

    @property
    def noise_effect(self) -> float | None:
        """See `ExplainedMap.noise_effect`."""
        return self._only.noise_effect

    def heatmap(self, colormap: str | None = None) -> Image.Image:
        """See `ExplainedMap.heatmap`."""
        return self._only.heatmap(colormap)

    def overlay(self, colormap: str | None = None, opacity: float | None = None) -> Image.Image:
        """See `ExplainedMap.overlay`."""
        return self._only.overlay(colormap, opacity)

    def save(self, path: str | Path) -> None:
        """Write what a notebook shows as the picture that the path's ending says, or the only map to a `.npy` file.

        Raises UsageError if it cannot be written.
        """
        if len(self.maps) == 1 or Path(path).suffix.lower() == ".npy":
            self._only.save(path)
        else:
            _save(self._side_by_side(), path)

    @property
    def _only(self) -> ExplainedMap:
        if len(self.maps) != 1:
            listed = ", ".join(f"maps[{number}] {each!r}" for number, each in enumerate(self.maps))
            raise UsageError(f"there are {len(self.maps)} maps; name the one you mean: {listed}")
        return self.maps[0]

    def _side_by_side(self) -> Image.Image:
        pictures = [each.overlay() for each in self.maps]
        width, height = pictures[0].size
        row = Image.new("RGB", ((width + _GAP) * len(pictures) - _GAP, height), "white")
        for number, picture in enumerate(pictures):
            row.paste(picture, (number * (width + _GAP), 0))
        return row

    def _repr_png_(self) -> bytes:
        return _png(self._side_by_side())

    def __repr__(self) -> str:
        found = ", ".join(map(repr, self.maps))
        return f"<{shown(self.name)}: predicted {_named(self.prediction)}; {found}>"


def _named(found: Prediction) -> str:
    return f"{found.label} {found.probability:.2f}"


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _save(picture: Image.Image, path: str | Path) -> None:
    options: dict[str, Any] = {"quality": 92} if Path(path).suffix.lower() in (".jpg", ".jpeg") else {}
    try:
        picture.save(path, **options)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"path is {str(path)!r}; it cannot be written: {error}; end it with .png, .jpg or .npy"
        ) from error
