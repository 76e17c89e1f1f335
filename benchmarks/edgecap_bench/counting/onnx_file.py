"""What an ONNX file says of its graph, read without the package onnx: a board has only ONNX Runtime.

An ONNX file is one protobuf message; the numbers of its fields are those of onnx.proto3. Only what counting needs is
read: nodes, stored tensors, inputs and outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgecap.errors import BundleError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TYPES: dict[int, DTypeLike] = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    4: np.uint16,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
    12: np.uint32,
    13: np.uint64,
}
"""TensorProto.DataType → NumPy."""
_VALUES = {4: "<f4", 5: "", 7: "", 10: "<f8", 11: ""}
"""Fields in which a tensor's numbers stand where they are not raw bytes; "" for varints."""


@dataclass(frozen=True)
class Node:
    """One operator."""

    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    integers: dict[str, int]
    """Its attributes that are one whole number."""


@dataclass(frozen=True)
class Tensor:
    """Numbers stored in the graph."""

    name: str
    shape: tuple[int, ...]
    type: int
    """TensorProto.DataType."""
    _fields: dict[int, list[Any]]

    @property
    def count(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)

    def array(self) -> NDArray[Any]:
        """The numbers, flat. Raises BundleError for a type or a storage that is not read here."""
        kind = _TYPES.get(self.type)
        if kind is None:
            raise BundleError(f"tensor {self.name!r} is of ONNX type {self.type}, which cannot be counted")
        raw = self._fields.get(9)
        if raw:
            return np.frombuffer(raw[-1], kind)
        for field, packed in _VALUES.items():
            if field in self._fields:
                return _numbers(self._fields[field], packed).astype(kind)
        if self.count:
            raise BundleError(f"tensor {self.name!r} is stored outside of its file, which cannot be counted")
        return np.empty(0, kind)


@dataclass(frozen=True)
class Value:
    """An input or an output; an axis is a size, a name, or None."""

    name: str
    type: DTypeLike
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True)
class OnnxFile:
    """What stands in the file."""

    content: bytes
    nodes: list[Node]
    tensors: list[Tensor]
    inputs: list[Value]
    outputs: list[Value]

    def with_outputs(self, names: Sequence[str]) -> bytes:
        """The file with inner values as outputs too.

        Appended bytes are merged by whoever parses them: protobuf joins repeated fields of a message given twice.
        """
        more = b"".join(_field(12, _field(1, name.encode())) for name in names)
        return self.content + _field(7, more)


def read_graph(path: Path) -> OnnxFile:
    """Read an ONNX file. Raises BundleError for what is none."""
    try:
        content = path.read_bytes()
        graph = _fields(memoryview(_one(_fields(memoryview(content)), 7)))
        tensors = [_tensor(memoryview(entry)) for entry in graph.get(5, [])]
        stored = {tensor.name for tensor in tensors}
        return OnnxFile(
            content,
            [_node(entry) for entry in graph.get(1, [])],
            tensors,
            [value for value in map(_value, graph.get(11, [])) if value.name not in stored],
            [_value(entry) for entry in graph.get(12, [])],
        )
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror or error})") from error
    except (IndexError, KeyError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is no ONNX graph; export the model again") from error


def _node(entry: memoryview) -> Node:
    fields = _fields(entry)
    integers = {}
    for attribute in fields.get(5, []):
        parts = _fields(attribute)
        if 3 in parts:
            integers[_text(parts, 1)] = int(parts[3][-1])
    return Node(
        _text(fields, 4),
        _text(fields, 7),
        tuple(_string(name) for name in fields.get(1, [])),
        tuple(_string(name) for name in fields.get(2, [])),
        integers,
    )


def _tensor(entry: memoryview) -> Tensor:
    fields = _fields(entry)
    dims = tuple(int(size) for size in _numbers(fields.get(1, []), ""))
    return Tensor(_text(fields, 8), dims, int(fields.get(2, [0])[-1]), fields)


def _value(entry: memoryview) -> Value:
    fields = _fields(entry)
    kind: dict[int, list[Any]] = {}
    if 2 in fields:
        of = _fields(fields[2][-1])
        kind = _fields(of[1][-1]) if 1 in of else {}
    axes = [_fields(axis) for axis in (_fields(kind[2][-1]).get(1, []) if 2 in kind else [])]
    shape = tuple(int(axis[1][-1]) if 1 in axis else _text(axis, 2) or None for axis in axes)
    return Value(_text(fields, 1), _TYPES.get(int(kind.get(1, [1])[-1]), np.float32), shape)


def _fields(message: memoryview) -> dict[int, list[Any]]:
    """Number of a field → its values in order: whole numbers, or the bytes of all else."""
    found: dict[int, list[Any]] = {}
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        wire = key & 7
        value: Any
        if wire == _VARINT:
            value, place = _varint(message, place)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(wire, 0)
            if wire == _BYTES:
                size, place = _varint(message, place)
            if (not size and wire != _BYTES) or place + size > len(message):
                raise ValueError("cut short")
            value = message[place : place + size]
            place += size
        found.setdefault(key >> 3, []).append(value)
    return found


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def _numbers(entries: Sequence[Any], packed: str) -> NDArray[Any]:
    """A repeated number, packed or not; `packed` is NumPy's name of a fixed width, "" for varints."""
    if packed:
        return np.concatenate([np.frombuffer(entry, packed) for entry in entries])
    return np.array([number for entry in entries for number in _varints(entry)], np.int64)


def _varints(entry: int | memoryview) -> Iterator[int]:
    if isinstance(entry, int):
        yield _signed(entry)
        return
    place = 0
    while place < len(entry):
        value, place = _varint(entry, place)
        yield _signed(value)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _one(fields: dict[int, list[Any]], number: int) -> Any:  # noqa: ANN401
    return fields[number][-1]


def _string(entry: memoryview) -> str:
    return bytes(entry).decode()


def _text(fields: dict[int, list[Any]], number: int) -> str:
    return _string(fields[number][-1]) if number in fields else ""


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes, as protobuf writes it."""
    return _encoded(number << 3 | _BYTES) + _encoded(len(content)) + content


def _encoded(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
