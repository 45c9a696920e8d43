"""Passes run by OpenVINO on a processor: the kept pass of a single row, on as many streams of one thread as there are cores.

A row is an image or a noisy copy of it. Each stream takes the next row when it is free, so that a core that is busy with
something else gets fewer rows, and none waits for it.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cam_cli.contrast import NO_CLASS
from cam_cli.engine.formulas import Array
from cam_cli.engine.openvino_import import openvino, openvino_version
from cam_cli.engine.passes import CompiledPass, GraphCache, PassSpec
from cam_cli.errors import UnsupportedError
from cam_cli.machine import cores
from cam_cli.quiet import native_chatter_silenced
from cam_cli.text import one_line

if TYPE_CHECKING:
    import keras

_UNSAFE = {"Gather", "GatherND", "GatherElements"}
"""OpenVINO 2026.4 reads outside its memory in these, seen with AVX2."""

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


def compile_by_runtime(
    open_model: Callable[[], keras.Model], spec: PassSpec, precision: str, cache: GraphCache | None, name: str
) -> CompiledPass:
    """Compile a pass, or load the one that is kept; without one, TensorFlow traces it, and the result is converted and kept.

    The kept file depends on the version of OpenVINO, and on neither the precision nor the numbers of images and samples. A
    kept file that is not the pass asked for is made anew.

    Raises:
        UnsupportedError: OpenVINO is not installed, or does not know an operation of the pass; the model cannot be frozen;
            this processor has no bfloat16.
        ModelError: as `trace_pass` does.
    """
    core = openvino().Core()
    if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UnsupportedError("this processor has no bfloat16")
    row = spec.of_one_row()
    name = f"openvino {openvino_version()} {row!r}"
    kept = cache.load(name) if cache else None
    if kept is not None:
        try:
            return CompiledPass(_Streams(_compiled(core, kept, row, precision), spec))
        except Exception:  # noqa: BLE001 - whatever is wrong with a file that is kept, it is as if it were not there
            kept = None
    contents = _traced(open_model, row)
    compiled, memory = _compiled(core, contents, row, precision)
    kinds = {node.get_rt_info()["layerType"].astype(str) for node in compiled.get_runtime_model().get_ops()}
    if unsafe := kinds & _UNSAFE:
        raise UnsupportedError(f"OpenVINO may crash in its operation {min(unsafe)}")
    if cache:
        cache.save(name, contents)
    return CompiledPass(_Streams((compiled, memory), spec))


def _traced(open_model: Callable[[], keras.Model], row: PassSpec) -> bytes:
    """Return the pass of one row as the contents of a file: the sizes of its two parts, the graph, and the weights."""
    with native_chatter_silenced():  # TensorFlow is imported here
        from cam_cli.engine.openvino_conversion import converted, written
        from cam_cli.engine.tracing import FrozenGraph, trace_pass

    traced = trace_pass(open_model(), row)
    if not isinstance(traced, FrozenGraph):
        raise UnsupportedError("the model cannot be frozen")
    if traced.calls_python:
        raise UnsupportedError("the model calls Python functions")
    ends = len(row.layers) == 1 and not row.exact
    graph, weights = written(converted(traced, ends_at_a_layer=ends))
    return json.dumps([len(graph), len(weights)]).encode() + b"\n" + graph + weights


def _compiled(core: Any, contents: bytes, row: PassSpec, precision: str) -> tuple[Any, Any]:
    """Compile what `_traced` returned, and return it with the memory of its weights, which it may read as long as it runs.

    Raises UnsupportedError if the contents are not the pass that is described by `row`.
    """
    ov = openvino()
    head, _, body = contents.partition(b"\n")
    graph, weights = json.loads(head)
    if graph + weights != len(body):
        raise UnsupportedError("the file is not whole")
    values = np.frombuffer(body, np.uint8, weights, graph)
    try:
        memory = ov.Tensor(values)
        model = core.read_model(body[:graph], memory)
        found = [tuple(port.get_shape()) for port in (*model.inputs, *model.outputs)]
        outputs = row.output_shapes()
        if found != [(1, *row.input), *outputs[1 : 1 + _kinds_of_classes(row)], *outputs]:
            raise UnsupportedError("it is another pass")
        settings = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "NUM_STREAMS": cores(),
            "INFERENCE_NUM_THREADS": cores(),
            "ENABLE_CPU_PINNING": False,  # a thread may leave a core that others use
        }
        return core.compile_model(model, "CPU", settings), memory
    except RuntimeError as error:
        raise UnsupportedError(f"OpenVINO cannot run it: {one_line(error)}") from error


def _kinds_of_classes(spec: PassSpec) -> int:
    """Return how many arrays of classes a pass takes and returns: its targets, and those against them if there are any."""
    return 2 if spec.against else 1


class _Streams:
    """A compiled pass of one row, run for all rows of a pass by several threads."""

    def __init__(self, compiled_with_weights: tuple[Any, Any], spec: PassSpec) -> None:
        compiled, self._weights = compiled_with_weights
        self._spec = spec
        self._requests = [compiled.create_infer_request() for _ in range(cores())]
        self._threads = ThreadPoolExecutor(len(self._requests), "openvino")

    def __call__(self, rows: Array, *classes: NDArray[np.int32]) -> Sequence[NDArray[Any]]:
        spec = replace(self._spec, images=len(classes[0]))  # a pass may have fewer images than most
        rows_left = _Rows(spec, np.concatenate([asked.reshape(spec.images, -1) for asked in classes], axis=1))
        arrays = [np.empty(shape, np.float32) for shape in spec.output_shapes()]
        layers = 1 + len(classes)

        def work(request: Any) -> None:
            while (job := rows_left.next()) is not None:
                row, asked = job
                targets, against = asked[None, : spec.targets], asked[spec.targets :].reshape(1, spec.targets, -1)
                try:
                    request.infer([rows[row : row + 1], *(targets, against)[: len(classes)]], share_inputs=True)
                except RuntimeError as error:
                    rows_left.abandon()
                    if "alloc" in str(error):
                        raise MemoryError(one_line(error)) from error
                    raise
                found = [request.get_output_tensor(i).data for i in range(len(arrays))]
                made_for = [found[1].ravel(), *(_asked(others).ravel() for others in found[2:layers])]
                if rows_left.is_done(row, np.concatenate(made_for)):
                    self._take(row, found, arrays, layers)

        for future in [self._threads.submit(work, request) for request in self._requests]:
            future.result()
        targets, against = rows_left.classes[:, : spec.targets], rows_left.classes[:, spec.targets :]
        others = np.where(against == NO_CLASS, -1, against).reshape(spec.images, spec.targets, -1)
        return [arrays[0], *(targets, others)[: len(classes)], *arrays[layers:]]

    def _take(self, row: int, found: Sequence[Any], arrays: Sequence[Array], layers: int) -> None:
        """Copy what was computed for a row to where it belongs; activations are those of each image's first sample."""
        image, sample = divmod(row, self._spec.samples)
        derivatives = layers + len(self._spec.layers)
        for number, (values, array) in enumerate(zip(found, arrays, strict=True)):
            if number == 0 or number >= derivatives:
                array[image, sample] = values[0, 0]
            elif number >= layers and sample == 0:
                array[image] = values[0]


def _asked(against: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return classes that a pass returned as it would be asked for them again."""
    return np.where(against < 0, NO_CLASS, against)


class _Rows:
    """The rows of a pass that are still to be run, each with the classes to explain.

    Classes that are given by rank follow from the first row of an image. While that row is not done and a stream has nothing
    else to do, another row of the image is run for the classes of its own ranks, and again if the first row has others.

    asked: the targets of each image, and those against them, in a row.
    """

    def __init__(self, spec: PassSpec, asked: NDArray[np.int32]) -> None:
        self._samples = spec.samples
        self._asked = asked
        self.classes = np.array(asked, np.int32)
        """Of the shape of `asked`, settled when all rows are done."""
        self._lock = threading.Lock()
        self._settled = [bool(((image >= 0) | (image == NO_CLASS)).all()) for image in asked]
        firsts = [row for row in range(spec.rows) if row % spec.samples == 0]
        others = [row for row in range(spec.rows) if row % spec.samples]
        self._left = deque([*firsts, *others])
        self._guessed: dict[int, NDArray[np.int32]] = {}

    def next(self) -> tuple[int, NDArray[np.int32]] | None:
        """Return the next row and its classes; None if all rows are taken."""
        with self._lock:
            for row in self._sure():
                self._left.remove(row)
                return row, self.classes[row // self._samples].copy()
            if not self._left:
                return None
            row = self._left.popleft()
            return row, self._asked[row // self._samples].copy()

    def _sure(self) -> Iterator[int]:
        return (row for row in self._left if row % self._samples == 0 or self._settled[row // self._samples])

    def is_done(self, row: int, classes: NDArray[np.int32]) -> bool:
        """Take note that a row was run for these classes; return False if it is to be run again for others."""
        image = row // self._samples
        with self._lock:
            if row % self._samples == 0:
                self.classes[image] = classes
                self._settled[image] = True
                wrong = [r for r, of in self._guessed.items() if r // self._samples == image and (of != classes).any()]
                self._left.extendleft(wrong)
                return True
            if not self._settled[image]:
                self._guessed[row] = classes.copy()
                return True
            if (classes != self.classes[image]).any():
                self._left.appendleft(row)
                return False
            return True

    def abandon(self) -> None:
        """Leave all further rows."""
        with self._lock:
            self._left.clear()
