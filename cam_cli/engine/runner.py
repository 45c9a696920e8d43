"""Runs passes through the network: NumPy arrays in, NumPy arrays out. All that is above this module knows no other runtime."""

import hashlib
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cam_cli.engine.contrast import contrasted_scores
from cam_cli.engine.formulas import Array
from cam_cli.engine.tracing import FrozenGraph, PassFunction, PassSpec, trace_pass
from cam_cli.errors import UsageError


class GraphCache(Protocol):
    """Keeps the traced passes of one model by name."""

    def load(self, name: str) -> bytes | None:
        """Return what was saved under a name, or None."""

    def save(self, name: str, contents: bytes) -> None:
        """Keep contents for next time, if possible."""


@dataclass(frozen=True)
class PassResult:
    """The result of one pass for B images, M samples of each and T targets.

    logits: (B, M, classes) float32. targets: (B, T) int32, class indices. against: (B, T, R) int32, the classes that they are
    explained against, -1 for none. activations: by layer, (B, h, w, K) float32, of
    each image's first sample. derivatives: by layer, a list for each target of (B, M, h, w, K) float32: dS/dA, and the
    diagonals of the second and third derivative if the spec asks for them. The layer INPUT is the noisy image itself.
    """

    logits: Array
    targets: NDArray[np.int32]
    activations: dict[str, Array]
    derivatives: dict[str, list[list[Array]]]
    against: NDArray[np.int32]

    def scores(self, b: int, t: int) -> Array:
        """Return the score of a target in each sample of an image, (M,)."""
        return contrasted_scores(self.logits[b], int(self.targets[b, t]), self.against[b, t])


class PassRunner:
    """A compiled pass; see `compile_pass`."""

    def __init__(self, run: PassFunction, spec: PassSpec) -> None:
        self.spec = spec
        self._run = run

    def __call__(
        self,
        x: NDArray[Any],
        seeds: NDArray[Any],
        live: NDArray[Any],
        targets: NDArray[Any],
        against: NDArray[Any] | None = None,
    ) -> PassResult:
        """Run one pass.

        Args:
            x: preprocessed images, (B, H, W, C) float32.
            seeds: two integers for each image and sample, (B, M, 2) int64, from which the sample's noise follows.
            live: (B, M) float32, 1 for samples with noise, 0 for the clean image.
            targets: (B, T) int32, class indices, or -r for the class of rank r in the first sample's scores.
            against: (B, T, R) int32, what `contrast.resolved` takes; None where the spec asks for no such classes.
        """
        given = (x, seeds, live, targets) if against is None else (x, seeds, live, targets, against)
        outputs = iter([tensor.numpy() for tensor in self._run(*map(tf.constant, given))])
        layers = self.spec.layers
        logits, classes = next(outputs), next(outputs)
        others = np.zeros((*classes.shape, 0), np.int32) if against is None else next(outputs)
        return PassResult(
            logits,
            classes,
            {layer: next(outputs) for layer in layers},
            {
                layer: [[next(outputs) for _ in range(self.spec.orders(layer))] for _ in range(self.spec.targets)]
                for layer in layers
            },
            others,
        )


def compile_pass(
    open_model: Callable[[], keras.Model],
    spec: PassSpec,
    precision: str = "float32",
    cache: GraphCache | None = None,
    compiled: MutableMapping[str, PassRunner] | None = None,
) -> PassRunner:
    """Compile a pass, or load it from the cache; the model is only opened if it is not there.

    Args:
        compiled: passes of this model by name, which are taken as they are; a new one that no longer needs the model is added.

    Raises:
        UsageError: bfloat16 for a model that cannot be frozen. ModelError: as `trace_pass` does.
    """
    name = f"{hashlib.sha256(repr(spec).encode()).hexdigest()}-{precision}"
    if compiled is not None and name in compiled:
        return compiled[name]
    known = cache.load(name) if cache else None
    if known is not None:
        return PassRunner(FrozenGraph.from_bytes(known).function(spec), spec)
    traced = trace_pass(open_model(), spec)
    if not isinstance(traced, FrozenGraph):
        if precision == "bfloat16":
            raise UsageError("this model cannot be frozen, which bfloat16 needs; leave --precision out")
        return PassRunner(traced, spec)
    if precision == "bfloat16":
        traced = traced.in_bfloat16()
    calls_python = any("PyFunc" in node.op for node in traced.definition.node)  # of this process alone
    if cache and not calls_python:
        cache.save(name, traced.to_bytes())
    runner = PassRunner(traced.function(spec), spec)
    if compiled is not None and not calls_python:
        compiled[name] = runner
    return runner
