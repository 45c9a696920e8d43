"""What a pass through the network computes, and what it returns. Any runtime can run one; it needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cam_cli.engine.formulas import Array
from cam_cli.engine.link import Link
from cam_cli.window import Grid

RuntimeName = Literal["tensorflow", "openvino"]
"""What can run a network."""

INPUT = "input"
"""The layer name under which the network's input is explained."""


@dataclass(frozen=True)
class PassSpec:
    """What a pass computes, with all its sizes. Together with the model it decides the graph.

    images: in a pass. samples: of each image. targets: of each image. input: (H, W, C). classes: how many the model has. link:
    from the model's output to the scores. grids: of the layers to explain, by path. exact: layers whose second and third
    derivatives are computed too; they must be separable. to_input: also differentiate with respect to the image, which then
    follows the layers under the name INPUT.
    """

    images: int
    samples: int
    targets: int
    input: tuple[int, int, int]
    classes: int
    link: Link
    grids: Mapping[str, Grid] = field(default_factory=dict)
    exact: tuple[str, ...] = ()
    to_input: bool = False

    @property
    def rows(self) -> int:
        """How many images and copies of them the network processes in a pass."""
        return self.images * self.samples

    @property
    def layers(self) -> tuple[str, ...]:
        """The explained layers, in order."""
        return (*self.grids, INPUT) if self.to_input else tuple(self.grids)

    def orders(self, layer: str) -> int:
        """Return how many derivatives are computed at a layer."""
        return 3 if layer in self.exact else 1

    def of_one_row(self) -> PassSpec:
        """Return the pass of a single image without copies."""
        return replace(self, images=1, samples=1)

    def output_shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of what a pass returns, in order; see `PassResult.of`."""
        shapes = [self.grids[layer].shape if layer in self.grids else self.input for layer in self.layers]
        rows = (self.images, self.samples)
        derivatives = [
            (*rows, *shape)
            for layer, shape in zip(self.layers, shapes, strict=True)
            for _ in range(self.targets * self.orders(layer))
        ]
        activations = [(self.images, *shape) for shape in shapes]
        return [(*rows, self.classes), (self.images, self.targets), *activations, *derivatives]


@dataclass(frozen=True)
class PassResult:
    """The result of one pass for B images, M samples of each and T targets.

    logits: (B, M, classes) float32. targets: (B, T) int32, class indices. activations: by layer, (B, h, w, K) float32, of
    each image's first sample. derivatives: by layer, a list for each target of (B, M, h, w, K) float32: dS/dA, and the
    diagonals of the second and third derivative if the spec asks for them. The layer INPUT is the noisy image itself.
    """

    logits: Array
    targets: NDArray[np.int32]
    activations: dict[str, Array]
    derivatives: dict[str, list[list[Array]]]

    @classmethod
    def of(cls, spec: PassSpec, arrays: Sequence[NDArray[Any]]) -> PassResult:
        """Name the arrays that a pass returns: logits, targets, activations by layer, derivatives by layer and target."""
        outputs = iter(arrays)
        return cls(
            next(outputs),
            next(outputs),
            {layer: next(outputs) for layer in spec.layers},
            {
                layer: [[next(outputs) for _ in range(spec.orders(layer))] for _ in range(spec.targets)]
                for layer in spec.layers
            },
        )


PassFunction = Callable[[Array, NDArray[np.int32]], Sequence[NDArray[Any]]]
"""Runs one pass: rows (B * M, H, W, C), all samples of the first image, then of the next, and targets (B, T): class indices, or
-r for the class of rank r in the first sample's scores. It returns the arrays that `PassResult.of` names."""


class GraphCache(Protocol):
    """Keeps the traced passes of one model by name."""

    def load(self, name: str) -> bytes | None:
        """Return what was saved under a name, or None."""

    def save(self, name: str, contents: bytes) -> None:
        """Keep contents for next time, if possible."""
