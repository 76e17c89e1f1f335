"""Zip archives of strangers: how much of a file is their directory is bounded before it is read."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from edgecap.util.limits import MOST_DIRECTORY


@contextmanager
def opened_zip(file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """The archive in a file that can seek.

    Raises zipfile.BadZipFile for one whose directory is larger than MOST_DIRECTORY, and what `zipfile` raises.
    """
    bounded = _Bounded(file)
    with zipfile.ZipFile(bounded) as archive:
        bounded.most = None
        yield archive


class _Bounded:
    """A file of which no more than `most` bytes are read at once; None for any number."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.most: int | None = MOST_DIRECTORY
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """As a file's; without a size, which zipfile asks for near the end only, up to the end."""
        if self.most is not None and size > self.most:
            raise zipfile.BadZipFile("its directory is too large")
        return self._file.read(size)

    def seekable(self) -> bool:
        """Yes."""
        return True
