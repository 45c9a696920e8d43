"""The facts about a model that explanations depend on; it needs no TensorFlow, so that what is kept of them is read without."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cam_cli.engine.link import Link
from cam_cli.window import Grid


class Head(StrEnum):
    """How the score depends on a layer. It decides whether noise has an effect and whether the closed form is exact."""

    AFFINE = "affine"
    PIECEWISE_LINEAR = "piecewise linear"
    SMOOTH = "smooth"


@dataclass(frozen=True)
class ModelAnalysis:
    """The facts about a model that explanations depend on.

    input_shape: (H, W, C). explained: the layers that maps are made of. scales: the coarse and the fine layer of `twoscale`, if
    it is computed. By path of all these layers: grids, heads, and separable (see `head.is_separable`). random: the scores
    depend on chance, such as a dropout that stays on. bytes_for_one_image: see `models.memory`.
    """

    input_shape: tuple[int, int, int]
    classes: int
    link: Link
    explained: tuple[str, ...]
    scales: tuple[str, str] | None
    grids: Mapping[str, Grid]
    heads: Mapping[str, Head]
    separable: Mapping[str, bool]
    random: bool = False
    bytes_for_one_image: int = 0
