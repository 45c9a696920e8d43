"""Runs passes through the network, by the runtime that is asked for: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cam_cli.engine.formulas import Array
from cam_cli.engine.passes import GraphCache, PassFunction, PassResult, PassSpec, RuntimeName
from cam_cli.quiet import native_chatter_silenced

if TYPE_CHECKING:
    import keras


class PassRunner:
    """A compiled pass; see `compile_pass`."""

    def __init__(self, run: PassFunction, spec: PassSpec) -> None:
        self.spec = spec
        self._run = run

    def __call__(self, rows: Array, targets: NDArray[Any]) -> PassResult:
        """Run one pass; raises MemoryError if the memory runs out.

        Args:
            rows: preprocessed images and noisy copies, (B * M, H, W, C) float32, all of the first image, then of the next.
            targets: (B, T) int32, class indices, or -r for the class of rank r in the first row's scores.
        """
        return PassResult.of(self.spec, self._run(rows, np.asarray(targets, np.int32)))


def compile_pass(
    open_model: Callable[[], keras.Model],
    spec: PassSpec,
    precision: str = "float32",
    cache: GraphCache | None = None,
    runtime: RuntimeName = "tensorflow",
) -> PassRunner:
    """Compile a pass, or load it from the cache; the model is only opened if it is not there.

    A runtime is imported when it is first asked for.

    Raises:
        UsageError: bfloat16 for a model that cannot be frozen. ModelError: as `trace_pass` does.
        UnsupportedError: this runtime cannot run the pass; TensorFlow can.
    """
    with native_chatter_silenced():
        if runtime == "openvino":
            from cam_cli.engine.openvino_runtime import compile_pass as compiled
        else:
            from cam_cli.engine.tensorflow_runtime import compile_pass as compiled
    name = f"{hashlib.sha256(repr(spec).encode()).hexdigest()}-{precision}"
    return PassRunner(compiled(open_model, spec, precision, cache, name), spec)
