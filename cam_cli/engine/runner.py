"""Runs passes through the network, by the runtime that is asked for: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cam_cli.engine.formulas import Array
from cam_cli.engine.passes import GraphCache, PassFunction, PassResult, PassSpec, RuntimeName
from cam_cli.quiet import native_chatter_silenced

if TYPE_CHECKING:
    import keras


class PassRunner:
    """Runs one pass on arrays."""

    def __init__(self, run: PassFunction, spec: PassSpec) -> None:
        self.spec = spec
        self._run = run

    def __call__(self, rows: Array, targets: NDArray[Any], against: NDArray[Any] | None = None) -> PassResult:
        """Run one pass; raises MemoryError if the memory runs out.

        Args:
            rows: preprocessed images and noisy copies, (B * M, H, W, C) float32, all of the first image, then of the next.
            targets: (B, T) int32, class indices, or -r for the class of rank r in the first row's scores.
            against: (B, T, R) int32, what `contrast.resolved` takes; None where the spec asks for no such classes.
        """
        asked = (targets,) if against is None else (targets, against)
        return PassResult.of(self.spec, self._run(rows, *(np.asarray(classes, np.int32) for classes in asked)))


def compile_pass(
    open_model: Callable[[], keras.Model],
    spec: PassSpec,
    precision: str = "float32",
    cache: GraphCache | None = None,
    runtime: RuntimeName = "tensorflow",
    compiled: MutableMapping[str, PassRunner] | None = None,
) -> PassRunner:
    """Compile a pass, or load it from the cache; the model is only opened if it is not there.

    A runtime is imported when it is first asked for.

    Args:
        compiled: passes of this model by name, which are taken as they are; a new one that does not need the model is added.

    Raises:
        UsageError: bfloat16 for a model that cannot be frozen. ModelError: as `trace_pass` does.
        UnsupportedError: this runtime cannot run the pass; TensorFlow can.
    """
    name = f"{hashlib.sha256(repr(spec).encode()).hexdigest()}-{precision}"
    key = f"{name}-{runtime}"
    if compiled is not None and key in compiled:
        return compiled[key]
    with native_chatter_silenced():
        if runtime == "openvino":
            from cam_cli.engine.openvino_runtime import compile_by_runtime
        else:
            from cam_cli.engine.tensorflow_runtime import compile_by_runtime
    found = compile_by_runtime(open_model, spec, precision, cache, name)
    runner = PassRunner(found.run, spec)
    if compiled is not None and not found.needs_model:
        compiled[key] = runner
    return runner


def most_rows(runtime: RuntimeName, bytes_for_one_image: int, input_shape: tuple[int, int, int]) -> int:
    """Return how many images may be in a pass at a time: as many as fit into the memory; OpenVINO takes one by one.

    Raises UsageError if not even one fits.
    """
    if runtime != "tensorflow":
        return sys.maxsize
    from cam_cli.graph.memory import images_in_memory

    return images_in_memory(bytes_for_one_image, input_shape)
