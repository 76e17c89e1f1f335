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
        count = min(count, self.size - place)  # memory is taken for what is asked for
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
        self._first, self._end = 0, 0
        """Where the piece begins and ends that was read last."""
        self._shift: int | None = None
        """What its places differ by from those in the file; None in the head."""

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
        """Fill `buffer`, of bytes, from the present place; the number of bytes, less than asked at the end only."""
        view, count = memoryview(buffer), 0
        while count < len(view):
            if not self._first <= self._place < self._end and not self._enter():
                break
            wanted = view[count : count + self._end - self._place]
            if self._shift is None:
                wanted[:] = self._head[self._place : self._place + len(wanted)]
                read = len(wanted)
            else:
                try:
                    read = os.preadv(self._descriptor, [wanted], self._place + self._shift)
                except OSError:  # of the device; libsndfile's callback can raise nothing, so the sound ends here
                    break
            if not read:
                break
            count += read
            self._place += read
        return count

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def _enter(self) -> bool:
        """Note which piece the present place is in; whether it is in one."""
        if self._place >= self._ends[-1]:
            return False
        index = bisect_right(self._ends, self._place) - 1
        self._first, self._end = (self._ends[index], self._ends[index + 1]) if index >= 0 else (0, len(self._head))
        self._shift = self._ranges[index].start - self._first if index >= 0 else None
        return True
