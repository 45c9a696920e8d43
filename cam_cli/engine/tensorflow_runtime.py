"""Passes run by TensorFlow, on a processor or on a GPU."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cam_cli.engine.formulas import Array
from cam_cli.engine.passes import CompiledPass, GraphCache, PassFunction, PassSpec
from cam_cli.engine.tracing import FrozenGraph, TracedPass, trace_pass
from cam_cli.errors import UsageError


def compile_by_runtime(
    open_model: Callable[[], keras.Model], spec: PassSpec, precision: str, cache: GraphCache | None, name: str
) -> CompiledPass:
    """Compile a pass, or load the one that is kept under `name`; the model is only opened if there is none.

    Raises:
        UsageError: bfloat16 for a model that cannot be frozen. ModelError: as `trace_pass` does.
    """
    known = cache.load(name) if cache else None
    if known is not None:
        return CompiledPass(_function(FrozenGraph.from_bytes(known).function(spec)))
    traced = trace_pass(open_model(), spec)
    if not isinstance(traced, FrozenGraph):
        if precision == "bfloat16":
            raise UsageError("this model cannot be frozen, which bfloat16 needs; leave --precision out")
        return CompiledPass(_function(traced), needs_model=True)
    if precision == "bfloat16":
        traced = traced.in_bfloat16()
    if cache and not traced.calls_python:
        cache.save(name, traced.to_bytes())
    return CompiledPass(_function(traced.function(spec)), needs_model=traced.calls_python)


def _function(run: TracedPass) -> PassFunction:
    def call(rows: Array, *classes: NDArray[np.int32]) -> Sequence[NDArray[Any]]:
        try:
            return [tensor.numpy() for tensor in run(*map(tf.constant, (rows, *classes)))]
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(str(error)) from error

    return call
