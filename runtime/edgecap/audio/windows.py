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
        start, covered, position = 0, 0, 0
        held, filled = np.empty(self.length, np.float32), 0  # the samples of the next window, as far as they came
        for chunk in chunks:
            end = position + chunk.size
            while (first := start + filled) < end:
                part = chunk[max(0, first - position) : start + self.length - position]
                held[filled : filled + part.size] = part
                filled += part.size
                if filled == self.length:
                    full = Window(start, held)
                    covered, start = start + self.length, start + self.hop
                    held, filled = np.empty(self.length, np.float32), max(0, self.length - self.hop)
                    held[:filled] = full.samples[self.length - filled :]
                    yield full
            position = end
        if filled and (covered == 0 or start + filled - max(start, covered) >= self.shortest_tail):
            yield Window(start, held[:filled].copy())

    def count(self, total: int) -> int:
        """How many windows `cut` makes of `total` samples."""
        if total <= 0:
            return 0
        full = (total - self.length) // self.hop + 1 if total >= self.length else 0
        start, covered = full * self.hop, (full - 1) * self.hop + self.length if full else 0
        tail = start < total and (full == 0 or total - max(start, covered) >= self.shortest_tail)
        return full + int(tail)
