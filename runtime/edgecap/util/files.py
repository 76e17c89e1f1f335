"""Atomic files and folders.

Each is written under a temporary name beside its place, synced to disk and renamed, so that a killed process, a full
disk or a power cut leaves either the old one or the new one.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from edgecap.errors import OutputError, reason_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 1 << 20
"""Bytes that are read at once where nobody knows how many there are."""
PARTIAL = ".partial"
"""How the name of an unfinished folder ends; readers pass over such folders."""


def read_at_most(path: Path, most: int) -> bytes:
    """What a file holds. Raises OSError, EFBIG where it has more than `most` bytes (a device has no size before).

    No memory is asked for but for what is there: Python's `read` asks for all that it may read before it does.
    """
    with path.open("rb") as file:
        data = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
        while len(data) <= most and (more := file.read(min(most + 1 - len(data), BLOCK))):
            data += more  # of a device, or a file that grows
    if len(data) > most:
        raise OSError(errno.EFBIG, f"{os.strerror(errno.EFBIG)}, at most {most} bytes are read")
    return data


@contextmanager
def atomic_file(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file to write; it gets the name `path` and the permissions `mode` when the block ends without an exception.

    Missing parent folders are made. An OSError becomes an OutputError.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_special(path)
        with temporary.open("xb") as file:
            os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _refused(path, error) from error
        raise


def write_atomically(path: Path, data: bytes | memoryview | str, *, mode: int = 0o644) -> None:
    """Write a file atomically; text as UTF-8. Raises OutputError."""
    with atomic_file(path, mode=mode) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder to fill; its files are synced and it gets the name `path` when the block ends without an exception.

    It is filled at `path` + ".partial"; what a killed process left there is removed first. `replace` allows an existing
    folder at `path`, which is removed after the new one is complete. An OSError becomes an OutputError.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        for file in partial.rglob("*"):
            _sync(file)
        _sync(partial)
        _rename(partial, path, replace)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise _refused(path, error) from error
        raise


def save_array(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array as a `.npy` file atomically. Raises OutputError with the reason, which NumPy alone omits."""
    import numpy as np

    with atomic_file(path) as file:
        np.save(_PlainWriter(file.write), array)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    _sync(folder)


def check_writable(path: Path) -> None:
    """Raise OutputError if a file `path` cannot be written, before minutes of work are spent on its content."""
    if not path.parent.is_dir():
        raise OutputError(
            f"{path} cannot be written: there is no folder {path.parent}; create it, or name another file"
        )
    _refuse_special(path)
    if not os.access(path.parent, os.W_OK) or path.is_dir():
        raise OutputError(
            f"{path} cannot be written: it is a folder, or in a folder without write permission; name another file"
        )


def check_folder(folder: Path) -> None:
    """Raise OutputError if no file can be written into a folder, which need not exist, before work is spent on it."""
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(place))
    if not nearest.is_dir():
        raise OutputError(f"{folder} cannot be written: {nearest} is no folder; name another one")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{folder} cannot be written: there is no permission to write in {nearest}; name another one")


def to_json(document: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    """`document` as one line of JSON, safe to show and to encode: what is not printable is escaped, all else is not.

    Raises ValueError for NaN and infinity.
    """
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _refuse_special(path: Path) -> None:
    """Raise OutputError for a device, pipe or socket, in whose place a file would be put: root could lose /dev/null."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OutputError(f"{path} cannot be written: it is a device or a pipe; name another file")


def _rename(partial: Path, path: Path, replace: bool) -> None:
    old = path.with_name(f".{path.name}.{secrets.token_hex(4)}.old")
    if path.exists():
        if not replace:
            raise OutputError(f"{path} exists already; name another folder")
        path.rename(old)
    try:
        partial.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path} cannot be written ({reason_of(error)}); free space or name another place")


class _PlainWriter:
    """A file without a descriptor for NumPy: with one, it writes in a way that loses the reason of a failure."""

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self.write = write
