"""The facts about a model that explanations depend on; it needs no TensorFlow, so that what is kept of them is read without."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from cam_cli.engine.link import Link
from cam_cli.errors import UsageError
from cam_cli.window import Grid


class Head(StrEnum):
    """How the score depends on a layer. It decides whether noise has an effect and whether the closed form is exact."""

    AFFINE = "affine"
    PIECEWISE_LINEAR = "piecewise linear"
    SMOOTH = "smooth"


@dataclass(frozen=True)
class ScalesAtSize:
    """The two layers of `twoscale` at one input size.

    input_shape: (H, W, C). grids: by path. bytes_for_one_image: see `graph.memory`.
    """

    input_shape: tuple[int, int, int]
    grids: Mapping[str, Grid]
    bytes_for_one_image: int = 0


@dataclass(frozen=True)
class ModelAnalysis:
    """The facts about a model that explanations depend on.

    input_shape: (H, W, C). multi_label: each class has a sigmoid of its own, so that several may be true. explained: the layers
    that maps are made of. scales: the coarse and the fine layer of `twoscale`, if it is computed. By path of all these layers:
    grids, heads, and separable (see `head.is_separable`). random: the scores depend on chance, such as a dropout that stays on.
    bytes_for_one_image: see `graph.memory`. sizes: the inputs whose maps `twoscale` adds up; none: `input_shape` alone.
    """

    input_shape: tuple[int, int, int]
    classes: int
    link: Link
    multi_label: bool
    explained: tuple[str, ...]
    scales: tuple[str, str] | None
    grids: Mapping[str, Grid]
    heads: Mapping[str, Head]
    separable: Mapping[str, bool]
    random: bool = False
    bytes_for_one_image: int = 0
    sizes: tuple[ScalesAtSize, ...] = ()

    @property
    def further_sizes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the sizes that are not the model's own input."""
        return tuple(size.input_shape[:2] for size in self.sizes if size.input_shape != self.input_shape)

    def check_windows(self, families: Collection[str]) -> None:
        """Raise UsageError if it cannot be told which part of the image a layer covers that these families of methods draw."""
        drawn = self.explained if {"layer", "layer++"} & set(families) else ()
        scales = self.scales if "two layers" in families and self.scales else ()
        for path in (*drawn, *scales):
            if lost_by := self.grids[path].lost_by:
                raise UsageError(
                    f"layer '{path}': which part of the image its grid covers cannot be told after the operation "
                    f"'{lost_by}'; name another layer, below that operation, or take a method that explains the input, "
                    "such as gradient"
                )
