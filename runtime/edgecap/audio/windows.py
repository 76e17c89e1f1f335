"""Cutting a stream of samples into windows, without holding more of it than one window and one chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from edgecap.types import Waveform


@dataclass(frozen=True)
class Window:
    """A stretch of a stream."""

    start: int
    """Samples before it."""
    samples: Waveform
    """Shape (n,), n at most the window's length."""


@dataclass(frozen=True, kw_only=True)
class WindowPlan:
    """How a stream is cut into windows; all in samples.

    What is left at the end becomes a shorter last window where it holds at least `shortest_tail` samples that no
    window had, or where there was no window at all.
    """

    length: int
    """Samples of a window."""
    hop: int
    """Samples from one window's start to the next; more than `length` leaves gaps."""
    shortest_tail: int

    def cut(self, chunks: Iterable[Waveform]) -> Iterator[Window]:
        """The windows of a stream, given as chunks of any length."""
        start, skip, covered, held = 0, 0, 0, np.empty(0, np.float32)
        for chunk in chunks:
            dropped = min(skip, chunk.size)
            skip, rest = skip - dropped, chunk[dropped:]
            held = np.concatenate((held, rest)) if held.size else rest
            while not skip and held.size >= self.length:
                yield Window(start, held[: self.length].copy())
                covered, start = start + self.length, start + self.hop
                skip, held = max(0, self.hop - held.size), held[self.hop :]
        end = start + held.size
        if not skip and held.size and (covered == 0 or end - max(start, covered) >= self.shortest_tail):
            yield Window(start, held.copy())

    def count(self, total: int) -> int:
        """How many windows `cut` makes of `total` samples."""
        if total <= 0:
            return 0
        full = (total - self.length) // self.hop + 1 if total >= self.length else 0
        start, covered = full * self.hop, (full - 1) * self.hop + self.length if full else 0
        tail = start < total and (full == 0 or total - max(start, covered) >= self.shortest_tail)
        return full + int(tail)
