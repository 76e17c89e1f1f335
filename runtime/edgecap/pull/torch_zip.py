"""PyTorch's checkpoint (`pytorch_model.bin`, a zip) read without PyTorch and without unpickling.

The pickle inside only says which tensor lies where. Its opcodes are read one by one by a small machine that knows those
that a table of tensors is made of: it calls nothing, and imports nothing whatever the file names. All else is refused.
"""

from __future__ import annotations

import math
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import CheckpointError
from edgecap.util.limits import MOST_AXES, MOST_PICKLE
from edgecap.util.zips import opened_zip

STORAGES = {
    "torch DoubleStorage": "<f8",
    "torch FloatStorage": "<f4",
    "torch HalfStorage": "<f2",
    "torch BFloat16Storage": "<u2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
}
"""Names of PyTorch's kinds of memory, as pickles have them → NumPy's types."""
ORDERED_DICT = "collections OrderedDict"
TENSOR = "torch._utils _rebuild_tensor_v2"
PARAMETER = "torch._utils _rebuild_parameter"
DAMAGED = (
    zipfile.BadZipFile,
    ValueError,
    ArithmeticError,
    LookupError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
)
"""What reading a damaged archive raises."""


@dataclass(frozen=True)
class _Name:
    """A class or function that the pickle names; it is compared with the known ones and never looked up."""

    name: str


@dataclass(frozen=True)
class _Storage:
    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _UnsoundError(Exception):
    """The pickle holds something else than tensors by name."""


def read_torch_zip(path: Path, name: str) -> dict[str, NDArray[Any]]:
    """Tensors by name. Raises CheckpointError, naming the file as `name`."""
    try:
        with path.open("rb") as file, opened_zip(file) as archive:
            return _read(archive)
    except _UnsoundError as error:
        raise CheckpointError(
            f"{name} holds {error} where tensors by name are needed; nothing of it was run"
        ) from error
    except DAMAGED as error:
        raise CheckpointError(f"{name} is damaged ({error}); get it again") from error


def _read(archive: zipfile.ZipFile) -> dict[str, NDArray[Any]]:
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [entry for name, entry in entries.items() if name.endswith("/data.pkl")]
    if len(pickles) != 1 or len(entries) != len(archive.infolist()):
        raise _UnsoundError(f"{len(pickles)} tables of tensors")
    folder = pickles[0].filename.removesuffix("data.pkl")
    order = entries.get(f"{folder}byteorder")
    if order is not None and _content(archive, order, 16) != b"little":
        raise _UnsoundError("numbers in another order of bytes")
    document = _Machine().run(_content(archive, pickles[0], MOST_PICKLE))
    storages: dict[str, NDArray[Any]] = {}
    tensors = {}
    for name, tensor in document.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise _UnsoundError(f"{type(tensor).__name__.strip('_').lower()} under {str(name)[:100]!r}")
        storage = tensor.storage
        if storage.key not in storages:
            dtype = np.dtype(STORAGES[storage.kind])
            entry = entries.get(f"{folder}data/{storage.key}")
            if entry is None or entry.file_size != storage.count * dtype.itemsize:
                raise _UnsoundError(f"no {storage.count} values for {name[:100]!r}")
            storages[storage.key] = _wide(np.frombuffer(_content(archive, entry, entry.file_size), dtype), storage.kind)
        tensors[name] = _view(storages[storage.key], tensor, name)
    return tensors


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """A file of the archive. PyTorch stores them as they are; a compressed one might be endless."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > most:
        raise _UnsoundError(f"{entry.file_size} bytes of {entry.filename[-100:]!r}")
    return archive.read(entry)


def _wide(values: NDArray[Any], kind: str) -> NDArray[Any]:
    return (values.astype(np.uint32) << 16).view(np.float32) if "BFloat16" in kind else values


def _view(values: NDArray[Any], tensor: _Tensor, name: str) -> NDArray[Any]:
    """The tensor's values within its storage."""
    if not 0 < math.prod(tensor.shape) <= len(values):
        raise _UnsoundError(f"no values or too few for {name[:100]!r}")
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if last >= len(values):
        raise _UnsoundError(f"too few values for {name[:100]!r}")
    strides = [stride * values.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides, writeable=False)


class _Machine:
    """The opcodes of pickles, as far as a table of tensors needs them."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, pickle: bytes) -> dict[Any, Any]:
        """The table that a pickle describes. Raises _UnsoundError."""
        try:
            for opcode, argument, _ in pickletools.genops(pickle):
                if opcode.name == "STOP":
                    break
                self._step(opcode.name, argument)
            result = self._stack.pop()
        except (ValueError, IndexError, KeyError, TypeError, UnicodeError) as error:
            raise _UnsoundError("a damaged table") from error
        if not isinstance(result, dict) or self._stack:
            raise _UnsoundError("no table")
        return result

    def _step(self, name: str, argument: Any) -> None:  # noqa: ANN401, PLR0912 - a line an opcode
        if name in _PUSHES:
            self._stack.append(_PUSHES[name](argument))
        elif name in {"PROTO", "FRAME"}:
            pass
        elif name == "MARK":
            self._marks.append(len(self._stack))
        elif name in {"BINPUT", "LONG_BINPUT"}:
            self._memo[argument] = self._stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name in {"BINGET", "LONG_BINGET"}:
            self._stack.append(self._memo[argument])
        elif name == "TUPLE":
            self._stack.append(tuple(self._marked()))
        elif name in {"TUPLE1", "TUPLE2", "TUPLE3"}:
            count = int(name[-1])
            items = [self._stack.pop() for _ in range(count)]
            self._stack.append(tuple(items[::-1]))
        elif name in {"SETITEM", "SETITEMS"}:
            items = self._marked() if name == "SETITEMS" else [self._stack.pop(), self._stack.pop()][::-1]
            table = self._stack[-1]
            if not isinstance(table, dict):
                raise ValueError("an item without a table")
            table.update(zip(items[::2], items[1::2], strict=True))
        elif name == "BINPERSID":
            self._stack.append(_storage(self._stack.pop()))
        elif name == "REDUCE":
            arguments = self._stack.pop()
            self._stack.append(_made(self._stack.pop(), arguments))
        elif name == "BUILD":  # attributes of the table, such as the versions of its modules
            self._stack.pop()
        else:
            raise _UnsoundError(f"a pickle's {name}")

    def _marked(self) -> list[Any]:
        begin = self._marks.pop()
        items = self._stack[begin:]
        del self._stack[begin:]
        return items


_PUSHES: dict[str, Callable[[Any], Any]] = {
    "EMPTY_DICT": lambda _: {},
    "EMPTY_TUPLE": lambda _: (),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "GLOBAL": _Name,
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE"), lambda value: value),
}


def _storage(identifier: object) -> _Storage:
    """What a persistent id names: ("storage", kind, key, device, count)."""
    if isinstance(identifier, tuple) and len(identifier) == 5 and identifier[0] == "storage":
        _, kind, key, _, count = identifier
        known = isinstance(kind, _Name) and kind.name in STORAGES and isinstance(key, str) and key.isdecimal()
        if known and type(count) is int and count >= 0:
            return _Storage(kind.name, key, count)
    raise _UnsoundError("an unknown kind of memory")


def _made(what: object, arguments: object) -> object:
    """What a call in the pickle would make, for the three that tables of tensors have; nothing is called."""
    if not isinstance(what, _Name) or not isinstance(arguments, tuple):
        _refuse("a call")
    if what.name == ORDERED_DICT and not arguments:
        return {}
    if what.name == PARAMETER and arguments and isinstance(arguments[0], _Tensor):
        return arguments[0]
    if what.name == TENSOR and len(arguments) >= 4:
        storage, offset, shape, strides = arguments[:4]
        axes = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides) <= MOST_AXES
        if (
            isinstance(storage, _Storage)
            and axes
            and all(type(n) is int and n >= 0 for n in (offset, *shape, *strides))
        ):
            return _Tensor(storage, offset, shape, strides)
    _refuse(f"a call of {what.name.replace(' ', '.')[:100]}")


def _refuse(what: str) -> NoReturn:
    raise _UnsoundError(what)
