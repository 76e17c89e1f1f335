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


def walk(chunks: Iterable[Waveform], *, length: int, hop: int, shortest_tail: int) -> Iterator[Window]:
    """Windows of `length` samples, one every `hop`, over the chunks of a stream.

    What is left at the end becomes a shorter last window where it brings at least `shortest_tail` samples
    that no window had, or where there was no window at all. A `hop` longer than `length` leaves gaps.
    """
    start, skip, covered, held = 0, 0, 0, np.empty(0, np.float32)
    for chunk in chunks:
        if skip:
            dropped = min(skip, chunk.size)
            skip, rest = skip - dropped, chunk[dropped:]
        else:
            rest = chunk
        held = np.concatenate((held, rest)) if held.size else rest
        while not skip and held.size >= length:
            yield Window(start, held[:length].copy())
            covered, start = start + length, start + hop
            skip, held = max(0, hop - held.size), held[hop:]
    end = start + held.size
    if not skip and held.size and (covered == 0 or end - max(start, covered) >= shortest_tail):
        yield Window(start, held.copy())


def count(total: int, *, length: int, hop: int, shortest_tail: int) -> int:
    """How many windows `walk` cuts out of `total` samples."""
    if total <= 0:
        return 0
    whole = (total - length) // hop + 1 if total >= length else 0
    start, covered = whole * hop, (whole - 1) * hop + length if whole else 0
    tail = start < total and (whole == 0 or total - max(start, covered) >= shortest_tail)
    return whole + int(tail)
