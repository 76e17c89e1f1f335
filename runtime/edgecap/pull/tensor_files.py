"""The tensors of a checkpoint's file as NumPy arrays: `.safetensors`, and PyTorch's zip without running its pickle.

Both formats are read within strict bounds; nothing in a file is executed. Raises CheckpointError throughout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import CheckpointError, reason_of
from edgecap.pull.torch_zip import read_torch_zip
from edgecap.util.documents import from_json
from edgecap.util.limits import MOST_AXES, MOST_HEADER, MOST_TENSORS

Tensors = Mapping[str, NDArray[Any]]
TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
"""safetensors' types that checkpoints have → NumPy's; BF16 is widened after it is read."""


def read_tensors(path: Path, name: str) -> Tensors:
    """Tensors by name; `name` is the file's for errors. Arrays may lie in the file: do not change it meanwhile."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
        return read_torch_zip(path, name) if start == b"PK\x03\x04" else read_safetensors(path, name)
    except OSError as error:
        raise CheckpointError(f"{name} cannot be read ({reason_of(error)}); get it again") from error


def read_safetensors(path: Path, name: str) -> Tensors:
    """The tensors of a `.safetensors`: each must fill its shape, and all together the file, without gap or overlap."""

    def wrong(what: str) -> NoReturn:
        raise CheckpointError(f"{name} is not a sound safetensors file ({what}); get it again")

    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(MOST_HEADER, size - 8):
            wrong(f"a header of {length} bytes in a file of {size}")
        text = file.read(length)
    try:
        header = from_json(text, pairs=_unique)
    except ValueError as error:
        wrong(f"its header is not JSON: {error}")
    if not isinstance(header, dict) or len(header) > MOST_TENSORS:
        wrong("its header is no table of tensors")
    header.pop("__metadata__", None)
    data: NDArray[np.uint8] = np.zeros(0, np.uint8)
    if size > 8 + length:
        data = np.memmap(path, np.uint8, "r", 8 + length)
    tensors: dict[str, NDArray[Any]] = {}
    filled = 0
    for tensor, entry in sorted(header.items(), key=lambda item: _begin(item[1])):
        kind, shape, offsets = _entry(entry) or wrong(f"the entry of {tensor[:100]!r}")
        begin, end = offsets
        dtype = np.dtype(TYPES[kind])
        if begin != filled or end > len(data) or end - begin != math.prod(shape) * dtype.itemsize:
            wrong(f"the place of {tensor[:100]!r}")
        if not math.prod(shape):
            wrong(f"no values for {tensor[:100]!r}")
        tensors[tensor] = _array(data[begin:end], kind, dtype, shape)
        filled = end
    if filled != len(data):
        wrong(f"{len(data) - filled} bytes that belong to no tensor")
    return tensors


def _array(data: NDArray[np.uint8], kind: str, dtype: np.dtype[Any], shape: list[int]) -> NDArray[Any]:
    values = np.frombuffer(data, dtype)
    if kind == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.reshape(shape)


def _entry(entry: object) -> tuple[str, list[int], list[int]] | None:
    """Type, shape and place of a tensor; None where the entry is not one."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        return None
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in TYPES:
        return None
    numbers = isinstance(shape, list) and isinstance(offsets, list) and all(type(n) is int for n in (*shape, *offsets))
    if not numbers or len(offsets) != 2 or len(shape) > MOST_AXES or min((*shape, *offsets)) < 0:
        return None
    return kind, shape, offsets


def _begin(entry: object) -> tuple[int, int]:
    """Where a tensor lies, to put them in order; what is malformed comes first and is refused then."""
    valid = _entry(entry)
    return (valid[2][0], valid[2][1]) if valid else (-1, -1)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name twice")
    return table
