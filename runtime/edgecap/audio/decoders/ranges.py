"""Parts of a file as one file-like object: what lies between is skipped, a corrected header is put before them."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

_CHUNK = 1 << 18


class ByteRange(NamedTuple):
    """Bytes `start` to `start + size` of a file."""

    start: int
    size: int

    def behind(self, count: int) -> ByteRange:
        """The same without its first `count` bytes."""
        return ByteRange(self.start + count, self.size - count)


class ByteReader:
    """Small reads at any place of a file, buffered. Close it."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size
        self._start, self._chunk = 0, b""

    def at(self, place: int, count: int) -> bytes:
        """`count` bytes from `place`, fewer at the end of the file."""
        if place >= self.size:  # however far: a header may say anything
            return b""
        offset = place - self._start
        if offset < 0 or offset + count > len(self._chunk):
            self._chunk, self._start, offset = os.pread(self._descriptor, _CHUNK + count, place), place, 0
        return self._chunk[offset : offset + count]

    def find(self, pattern: bytes, place: int) -> int:
        """Where `pattern` next begins at or after `place`; -1 where it does not."""
        while len(self.at(place, len(pattern))) == len(pattern):
            offset = self._chunk.find(pattern, place - self._start)
            if offset >= 0:
                return self._start + offset
            place = self._start + len(self._chunk) - len(pattern) + 1
        return -1

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class RangeFile(io.RawIOBase):
    """A file-like object: `head`, then the `ranges` of the file at `path`, as if they lay there in one piece."""

    def __init__(self, path: Path, head: bytes, ranges: Sequence[ByteRange]) -> None:
        """Raises OSError."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._head, self._ranges = head, ranges
        self._ends = list(accumulate((part.size for part in ranges), initial=len(head)))
        self._place = 0

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The present place."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place; the new one."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._ends[-1]}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer is 3.12's
        """Fill `buffer` from the present place; the number of bytes, less than asked at the end only."""
        view = memoryview(buffer).cast("B")
        count = 0
        while count < len(view) and self._place < self._ends[-1]:
            data = self._piece(len(view) - count)
            if not data:
                break
            view[count : count + len(data)] = data
            count += len(data)
            self._place += len(data)
        return count

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def _piece(self, most: int) -> bytes:
        """At most `most` bytes from the present place, out of one range."""
        if self._place < len(self._head):
            return self._head[self._place : self._place + most]
        index = bisect_right(self._ends, self._place) - 1
        within = self._place - self._ends[index]
        part = self._ranges[index]
        return os.pread(self._descriptor, min(most, part.size - within), part.start + within)
