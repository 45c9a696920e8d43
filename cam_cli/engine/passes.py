"""What a pass through the network computes, and what it returns. Any runtime can run one; it needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cam_cli.contrast import contrasted_scores
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
    follows the layers under the name INPUT. against: how many classes each target is explained against, at the most.
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
    against: int = 0

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
        others = [(self.images, self.targets, self.against)] if self.against else []
        return [(*rows, self.classes), (self.images, self.targets), *others, *activations, *derivatives]


@dataclass(frozen=True)
class PassResult:
    """The result of one pass for B images, M samples of each and T targets.

    logits: (B, M, classes) float32. targets: (B, T) int32, class indices. against: (B, T, R) int32, the classes that they are
    explained against, -1 for none. activations: by layer, (B, h, w, K) float32, of each image's first sample. derivatives: by
    layer, a list for each target of (B, M, h, w, K) float32: dS/dA, and the diagonals of the second and third derivative if the
    spec asks for them. The layer INPUT is the noisy image itself.
    """

    logits: Array
    targets: NDArray[np.int32]
    against: NDArray[np.int32]
    activations: dict[str, Array]
    derivatives: dict[str, list[list[Array]]]

    @classmethod
    def of(cls, spec: PassSpec, arrays: Sequence[NDArray[Any]]) -> PassResult:
        """Name the arrays that a pass returns, in the order of `PassSpec.output_shapes`."""
        outputs = iter(arrays)
        logits, targets = next(outputs), next(outputs)
        return cls(
            logits,
            targets,
            next(outputs) if spec.against else np.zeros((*targets.shape, 0), np.int32),
            {layer: next(outputs) for layer in spec.layers},
            {
                layer: [[next(outputs) for _ in range(spec.orders(layer))] for _ in range(spec.targets)]
                for layer in spec.layers
            },
        )

    def scores(self, b: int, t: int) -> Array:
        """Return the score of a target in each sample of an image, (M,)."""
        return contrasted_scores(self.logits[b], int(self.targets[b, t]), self.against[b, t])


PassFunction = Callable[..., Sequence[NDArray[Any]]]
"""Runs one pass: rows (B * M, H, W, C), all samples of the first image, then of the next; targets (B, T): class indices, or -r
for the class of rank r in the first sample's scores; and, if the spec asks for them, the classes against these, (B, T, R), see
`cam_cli.contrast`. It returns the arrays that `PassResult.of` names."""


@dataclass(frozen=True)
class CompiledPass:
    """A pass that is ready to run. needs_model: it runs only as long as the model lives that it was traced from."""

    run: PassFunction
    needs_model: bool = False


class GraphCache(Protocol):
    """Keeps the traced passes of one model by name."""

    def load(self, name: str) -> bytes | None:
        """Return what was saved under a name, or None."""

    def save(self, name: str, contents: bytes) -> None:
        """Keep contents for next time, if possible."""
