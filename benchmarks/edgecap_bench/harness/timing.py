"""Interleaved timing, and the statistics of its numbers.

Knows nothing about models. What is timed takes turns (A B C A B C …), so that a machine that slows down slows all of
it alike, and every single time is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgecap.util.progress import Progress, no_progress

Timed = Callable[[int], object]
"""What is timed; it gets the number of the round."""


@dataclass(frozen=True)
class Summary:
    """A sample of times (or sizes) in numbers that one outlier does not move."""

    median: float
    low: float
    high: float
    """`low` to `high` holds the true median with at least 95 % confidence, or is the whole range of fewer than 6."""
    p95: float
    """95 % of the sample are no higher."""
    count: int


def interleave(
    timed: Mapping[str, Timed],
    rounds: int,
    *,
    warm_up: int = 2,
    progress: Progress = no_progress,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each of `timed` in each round.

    The first `warm_up` rounds are run and not counted. `progress` is called between rounds, outside of what is timed.
    Raises ValueError for fewer than one round.
    """
    if rounds < 1:
        raise ValueError(f"at least one round is needed, got {rounds}")
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(-warm_up, rounds):
        for name, run in timed.items():
            begin = clock()
            run(max(turn, 0))
            end = clock()
            if turn >= 0:
                seconds[name].append(end - begin)
        progress(turn + warm_up + 1, rounds + warm_up)
    return seconds


def summarise(sample: Sequence[float]) -> Summary:
    """Median, its interval, and the 95th percentile. Raises ValueError for an empty sample."""
    if not sample:
        raise ValueError("an empty sample has no summary")
    ordered, count = sorted(sample), len(sample)
    cut = _rank_below_median(count)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return Summary(middle, ordered[cut], ordered[count - 1 - cut], ordered[math.ceil(0.95 * count) - 1], count)


def _rank_below_median(count: int) -> int:
    """How many values can be cut off at either end and still leave a 95 % interval of the median.

    Each value lies below the true median with probability 1/2, so the number that do is binomial; this needs
    no assumption about the shape of the distribution (David and Nagaraja, Order Statistics, 2003, section 7.1).
    """
    cut, tail = -1, 0.0
    while True:
        tail += math.comb(count, cut + 1) / 2.0**count
        if tail > 0.025:
            return max(cut, 0)
        cut += 1
