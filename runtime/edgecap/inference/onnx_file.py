"""Whether an ONNX file names other files, which no hash of a bundle covers. Needs no package.

ONNX keeps a tensor outside by entries of `external_data`, one of which has the key "location" (onnx.proto3). A file
without that word has none; in a file with it, all places where a tensor may stand are looked at.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

WORD = b"location"
ORT_FORMAT = b"ORTM"
"""Bytes 4 to 8 of ONNX Runtime's own format, which may name other files too."""
PARTS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""Message → number of a field → the message in it."""
EXTERNAL = {13, 14}
"""A tensor's fields `external_data` and `data_location`."""
DEEPEST = 64
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Protobuf's kinds of fields."""


def names_other_files(path: Path) -> bool:
    """Whether a graph keeps something in another file, or is written so that this cannot be seen. Raises OSError."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[4:8] == ORT_FORMAT:
            return True
        if data.find(WORD) < 0:
            return False
        try:
            return _external(memoryview(bytes(data)), "model", 0)
        except (ValueError, IndexError):
            return True


def _external(data: memoryview, kind: str, depth: int) -> bool:
    if depth > DEEPEST:
        raise ValueError
    for number, value in _fields(data):
        if kind == "tensor":
            if number in EXTERNAL and value != 0:
                return True
        elif (
            isinstance(value, memoryview) and number in PARTS[kind] and _external(value, PARTS[kind][number], depth + 1)
        ):
            return True
    return False


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Number and value of each field of a message; an int for those without bytes. Raises ValueError, IndexError."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == VARINT:
            value, place = _varint(data, place)
            yield tag >> 3, value
            continue
        size = {FIXED64: 8, FIXED32: 4}.get(kind, 0)
        if kind == BYTES:
            size, place = _varint(data, place)
        elif not size:
            raise ValueError(kind)
        if size > len(data) - place:
            raise ValueError(size)
        yield tag >> 3, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError(value)
