"""The normalisation of a `.tflite` file's input as its metadata says: a flatbuffer of its own (`TFLITE_METADATA`) inside the
file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from flatbuffers import encode, number_types
from flatbuffers.table import Table

_IDENTIFIER = b"M001"
_SUBGRAPHS, _INPUTS, _PROCESS_UNITS = 3, 2, 4
_OPTIONS_TYPE, _OPTIONS, _NORMALISATION, _MEAN, _STD = 0, 1, 1, 0, 1
"""Numbers of fields in metadata_schema.fbs of tflite-support: ModelMetadata, SubGraphMetadata, TensorMetadata, ProcessUnit."""


def normalisation(data: bytes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of the first input, (value - mean) / std of values from 0 to 255, or nothing."""
    if data[4:8] != _IDENTIFIER:
        return (), ()
    root = Table(data, encode.Get(number_types.UOffsetTFlags.packer_type, data, 0))
    for subgraph in _tables(root, _SUBGRAPHS):
        for tensor in _tables(subgraph, _INPUTS):
            for unit in _tables(tensor, _PROCESS_UNITS):
                kind = unit.Offset(4 + 2 * _OPTIONS_TYPE)
                options = unit.Offset(4 + 2 * _OPTIONS)
                if kind and options and unit.Get(number_types.Uint8Flags, kind + unit.Pos) == _NORMALISATION:
                    inner = Table(data, unit.Indirect(options + unit.Pos))
                    mean, std = _floats(inner, _MEAN), _floats(inner, _STD)
                    if mean and std and all(n > 0 for n in std) and np.isfinite([*mean, *std]).all():
                        return mean, std
            return (), ()
    return (), ()


def _tables(table: Any, field: int) -> Iterator[Any]:
    offset = table.Offset(4 + 2 * field)
    if offset:
        start = table.Vector(offset)
        for number in range(table.VectorLen(offset)):
            yield Table(table.Bytes, table.Indirect(start + 4 * number))


def _floats(table: Any, field: int) -> tuple[float, ...]:
    offset = table.Offset(4 + 2 * field)
    if not offset:
        return ()
    values = table.GetVectorAsNumpy(number_types.Float32Flags, offset)
    return tuple(float(value) for value in values)
