"""Rebuild a `.tflite` file as a graph of floating-point operations, so that it can be differentiated.

The schema is the one inside TensorFlow. Quantised weights are dequantised and activations stay float: a quantised file is
explained as the float network that it stands for.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.python.eager import context

from cam_cli.frozen_graphs.description import UnreadableError
from cam_cli.frozen_graphs.source import GraphSource
from cam_cli.frozen_graphs.tflite_dilation import joined
from cam_cli.frozen_graphs.tflite_magnitude import BY_SIZE, NOT_SEEN, first_weights, is_for_bytes
from cam_cli.frozen_graphs.tflite_metadata import normalisation
from cam_cli.frozen_graphs.tflite_operations import OPERATIONS, Arguments, shape_of

_MOST_OPERATIONS = 20_000
_QUANTISED = (np.int8, np.uint8, np.int16, np.int32)
_WHOLE = (np.int32, np.int64)
_TYPES: dict[int, Any] = {
    schema.TensorType.FLOAT32: np.float32, schema.TensorType.FLOAT16: np.float16, schema.TensorType.FLOAT64: np.float64,
    schema.TensorType.INT8: np.int8, schema.TensorType.UINT8: np.uint8, schema.TensorType.INT16: np.int16,
    schema.TensorType.INT32: np.int32, schema.TensorType.INT64: np.int64, schema.TensorType.BOOL: np.bool_,
}  # fmt: skip
_NAMES: dict[int, str] = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


@dataclass(frozen=True)
class _Quantised:
    """How whole numbers stand for real ones: (q - zero) * scale, by channel along `axis` if there are several."""

    scale: NDArray[np.float64]
    zero: NDArray[np.float64]
    axis: int

    def real(self, values: NDArray[Any]) -> NDArray[np.float32]:
        shape = [1] * values.ndim
        if self.scale.size > 1:
            shape[self.axis] = self.scale.size
        scale = self.scale.reshape(shape)
        zero = self.zero.reshape(shape) if self.zero.size == self.scale.size else self.zero.reshape([1] * values.ndim)
        return np.asarray((values.astype(np.float64) - zero) * scale, np.float32)


def read_tflite(path: Path) -> GraphSource:
    """Read the one graph of a `.tflite` file.

    Raises:
        UnreadableError: it has operations that are not known here, or several graphs, or it is damaged.
    """
    data = path.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    if not model.subgraphs or not model.subgraphs[0].operators:
        raise UnreadableError("is a TensorFlow Lite file without a network")
    return _Builder(model, data).built()


class _Builder:
    def __init__(self, model: Any, data: bytes) -> None:
        self._model, self._data = model, data
        self._main = model.subgraphs[0]
        self._kinds = [_kind(code) for code in model.operatorCodes]
        self._raw: dict[int, NDArray[Any]] = {}
        self._values: dict[int, Any] = {}
        self._quantised = False

    def built(self) -> GraphSource:
        operators = self._main.operators
        if len(operators) > _MOST_OPERATIONS:
            raise UnreadableError(f"has more than {_MOST_OPERATIONS:,} operations, more than any network")
        unknown = Counter(kind for kind in map(self._kind_of, operators) if kind not in OPERATIONS)
        if "VAR_HANDLE" in unknown:
            raise UnreadableError(
                "keeps its weights in variables, whose values are not in the file; convert the model again with "
                "TFLiteConverter.from_saved_model, or give the SavedModel"
            )
        if unknown:
            listed = ", ".join(sorted(unknown)[:8])
            raise UnreadableError(
                f"has TensorFlow Lite operations that smoothcam does not know: {listed}; give the model it was made from"
            )
        for number, tensor in enumerate(self._main.tensors):
            self._read_constant(number, tensor)
        graph = tf.Graph()
        with graph.as_default():
            inputs = {self._name(i): self._feed(i) for i in map(int, self._main.inputs)}
            for operator, kind in zip(
                operators, joined(operators, [*map(self._kind_of, operators)], self._raw), strict=True
            ):
                self._add(operator, kind)
            outputs = {self._name(i): self._value(i).name for i in map(int, self._main.outputs)}
        mean, std = self._scaling()
        scaling_remark = ""
        if not mean:
            mean, std, scaling_remark = self._by_magnitude()
        remark = "the file is quantised: dequantised, so that maps are of the float network it stands for"
        definition = graph.as_graph_def()
        return GraphSource(
            nodes={node.name: node for node in definition.node},
            functions={},
            inputs=self._by_signature("inputs", inputs),
            outputs=self._by_signature("outputs", outputs),
            mean=mean,
            std=std,
            scaling_remark=scaling_remark,
            remarks=(remark,) if self._quantised else (),
        )

    def _kind_of(self, operator: Any) -> str:
        return str(self._kinds[operator.opcodeIndex])

    def _read_constant(self, number: int, tensor: Any) -> None:
        buffer = self._model.buffers[tensor.buffer]
        data = buffer.data
        if getattr(buffer, "offset", 0) and buffer.offset > 1:
            data = np.frombuffer(self._data, np.uint8, buffer.size, buffer.offset)
        if data is None or not len(data):
            return
        if tensor.type not in _TYPES:
            raise UnreadableError(f"has a constant of a type (number {tensor.type}) that smoothcam does not know")
        if tensor.sparsity is not None:
            raise UnreadableError("has sparse weights, which smoothcam does not read; give the model it was made from")
        shape = [] if tensor.shape is None else [int(n) for n in tensor.shape]
        values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), _TYPES[tensor.type]).reshape(shape)
        self._raw[number] = values
        quantised = _quantised(tensor)
        if quantised is not None and values.dtype in _QUANTISED:
            self._quantised = True
            self._values[number] = quantised.real(values)
        else:
            self._values[number] = values.astype(np.float32) if values.dtype == np.float16 else values

    def _feed(self, number: int) -> str:
        tensor = self._main.tensors[number]
        known = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
        sizes = [int(n) if n > 0 else None for n in (known if known is not None else ())]
        kind = tf.float32
        if _quantised(tensor) is None and tensor.type in _TYPES and not np.issubdtype(_TYPES[tensor.type], np.floating):
            kind = tf.as_dtype(_TYPES[tensor.type])
        fed = tf.compat.v1.placeholder(
            kind, [None, *sizes[1:]] if sizes else [], name=_node_name(tensor.name) or "input"
        )
        self._values[number] = fed
        name: str = fed.name
        return name

    def _value(self, number: int) -> Any:
        if number not in self._values:
            raise UnreadableError(f"is damaged: nothing computes its tensor {number}")
        return self._values[number]

    def _add(self, operator: Any, kind: str) -> None:
        outputs = [self._main.tensors[i] for i in operator.outputs]
        numbers = [int(i) for i in operator.inputs]
        arguments = Arguments(
            options=operator.builtinOptions,
            inputs=[None if i < 0 else self._value(i) for i in numbers],
            raw=[None if i < 0 else self._raw.get(i) for i in numbers],
            shapes=[[] if tensor.shape is None else [int(n) for n in tensor.shape] for tensor in outputs],
            image=self._values[int(self._main.inputs[0])],
        )
        if self._know(operator, kind, arguments):
            return
        scope = _node_name(outputs[0].name).rpartition("/")[0]
        with tf.name_scope(f"{scope}/" if scope else ""):
            made = OPERATIONS[kind](arguments)
        results = list(made) if isinstance(made, list | tuple) else [made]
        for number, result in zip(map(int, operator.outputs), results, strict=False):
            self._values[number] = result
        self._quantised = self._quantised or any(_quantised(tensor) is not None for tensor in outputs)

    def _know(self, operator: Any, kind: str, arguments: Arguments) -> bool:
        """Compute the shapes of tensors, and what is computed from these alone, now; False: it is something else.

        So a size of which only the number of images is open is known, with -1 for that.
        """
        if kind == "SHAPE":
            known = shape_of(arguments.inputs[0])
            results = [] if known is None else [known]
        elif all(
            raw is not None and raw.dtype in _WHOLE and value is raw
            for raw, value in zip(arguments.raw, arguments.inputs, strict=True)
        ):
            with context.eager_mode():
                made = OPERATIONS[kind](arguments)
            results = [np.asarray(each) for each in (made if isinstance(made, list | tuple) else [made])]
        else:
            return False
        for number, result in zip(map(int, operator.outputs), results, strict=False):
            self._values[number] = self._raw[number] = result
        return bool(results)

    def _name(self, number: int) -> str:
        return _text(self._main.tensors[number].name) or str(number)

    def _by_signature(self, side: str, ends: dict[str, str]) -> dict[str, str]:
        """Return inputs or outputs by the names of the file's signature, if it has one for each of them."""
        signatures = self._model.signatureDefs or []
        maps = getattr(signatures[0], side) if len(signatures) == 1 else None
        if not maps or len(maps) != len(ends):
            return ends
        return {_text(entry.name): ends[self._name(entry.tensorIndex)] for entry in maps}

    def _by_magnitude(self) -> tuple[tuple[float, ...], tuple[float, ...], str]:
        """Return mean and std of the input, if the first weights tell them, and what the user has to know of it."""
        image, operators = int(self._main.inputs[0]), self._main.operators
        constants = {number: value for number, value in self._values.items() if isinstance(value, np.ndarray)}
        gains = first_weights(operators, [*map(self._kind_of, operators)], constants, image)
        if gains is None or self._main.tensors[image].type != schema.TensorType.FLOAT32:
            return (), (), ""
        if is_for_bytes(*gains):
            return (0.0,), (1.0,), BY_SIZE
        return (), (), NOT_SEEN

    def _scaling(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and std of the input: from its quantisation, or from the metadata that TensorFlow Lite's tools write."""
        tensor = self._main.tensors[int(self._main.inputs[0])]
        quantised = _quantised(tensor)
        if quantised is not None and quantised.scale.size == 1 and _TYPES.get(tensor.type) in (np.uint8, np.int8):
            shift = 128.0 if _TYPES[tensor.type] is np.int8 else 0.0
            return (float(quantised.zero.flat[0]) + shift,), (1 / float(quantised.scale.flat[0]),)
        for entry in self._model.metadata or []:
            if _text(entry.name) == "TFLITE_METADATA":
                return normalisation(bytes(np.asarray(self._model.buffers[entry.buffer].data, np.uint8)))
        return (), ()


def _kind(code: Any) -> str:
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return f"custom {_text(code.customCode)}"
    return _NAMES.get(number, f"number {number}")


def _quantised(tensor: Any) -> _Quantised | None:
    known = tensor.quantization
    if known is None or known.scale is None or not len(known.scale):
        return None
    zero = known.zeroPoint if known.zeroPoint is not None and len(known.zeroPoint) else [0]
    return _Quantised(np.asarray(known.scale, np.float64), np.asarray(zero, np.float64), int(known.quantizedDimension))


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "")


def _node_name(name: Any) -> str:
    """Return the first of a tensor's names, `conv1/Relu;conv1/Conv2D`, as the name of a node."""
    text = re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", re.sub(r":\d+$", "", _text(name).split(";")[0])).strip("/")
    text = re.sub(r"/+", "/", text)
    return text if re.match(r"[A-Za-z0-9.]", text) else f"t{text}" if text else ""
