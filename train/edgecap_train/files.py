"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import OutputError


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write beside `path`, synced and given its name at the end. Raises OutputError; nothing half stays."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputError(
                f"{path} cannot be written ({error.strerror or error}); free space or name another place"
            ) from error
        raise


def write_whole(path: Path, data: bytes | memoryview | str) -> None:
    """Write a file whole or not at all. Raises OutputError."""
    with whole(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def save_array(path: Path, array: NDArray[np.generic]) -> None:
    """`array` as a `.npy` file, whole or not at all. Raises OutputError, which NumPy alone gives no reason for."""
    with whole(path) as file:
        np.save(_Plain(file), array)


class _Plain:
    """A file that NumPy writes to piece by piece: its own way into a real file loses why a write failed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        """As of any file."""
        return self._file.write(data)
