"""What decides a comparison of two rows: the parts of its variance, its interval, and how many runs and clips it takes.

A difference d of two rows, clip by clip on the same seeds and clips, is modelled as

    d[seed, clip] = mean + of the seed + of the clip + rest

with independent parts (two-way random effects without replication; Searle, Casella, McCulloch 1992, chapter 4). Over S
seeds and C clips the mean has the variance `between_seeds` / S + `between_clips` / C + `rest` / (S C): more seeds leave
the second term as it is, more clips the first. Intervals and power are those of Student's t with Satterthwaite's (1946)
degrees of freedom: a bootstrap over seeds and clips counts the rest about two times too often for three seeds, and
seeds too little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import nctdtr, stdtrit

from edgecap_train.evaluation.metrics import Interval

LEVEL, POWER = 0.05, 0.8
"""Of a two-sided test, and the share of studies in which it shall find a difference that is there."""
LARGE = 1e4
"""Degrees of freedom from which t is as good as normal."""
MOST = 100_000
"""Seeds or clips beyond which the answer is never."""


@dataclass(frozen=True)
class VarianceParts:
    """The variance of a difference by where it comes from; variances of single scores."""

    between_seeds: float
    between_clips: float
    rest: float
    """Of a clip in one run beyond both."""

    def of_mean(self, seeds: float, clips: float) -> float:
        """Variance of the mean over so many."""
        return self.between_seeds / seeds + self.between_clips / clips + self.rest / seeds / clips

    def freedom(self, seeds: int, clips: int) -> float:
        """Satterthwaite's degrees of freedom of that variance as a study of this size estimates it."""
        by_seed, by_clip = self.rest + clips * self.between_seeds, self.rest + seeds * self.between_clips
        total = by_seed + by_clip - self.rest
        spread = by_seed**2 / (seeds - 1) + by_clip**2 / (clips - 1) + self.rest**2 / ((seeds - 1) * (clips - 1))
        return total**2 / spread if spread > 0 else inf

    def lasting_share(self, seeds: int, clips: int) -> float:
        """Share of the variance of the mean that more seeds on the same clips never remove."""
        total = self.of_mean(seeds, clips)
        return self.between_clips / clips / total if total > 0 else 0.0


def variance_parts(differences: NDArray[np.float64]) -> VarianceParts:
    """Estimates from (seeds, clips), two of each at least, by mean squares; a negative estimate is 0.

    Raises ValueError for fewer.
    """
    seeds, clips = differences.shape
    if min(seeds, clips) < 2:
        raise ValueError(f"parts of a variance need two seeds and two clips, not {seeds} and {clips}")
    mean, by_seed, by_clip = differences.mean(), differences.mean(1), differences.mean(0)
    left = differences - by_seed[:, None] - by_clip[None] + mean
    rest = float((left**2).sum() / ((seeds - 1) * (clips - 1)))
    return VarianceParts(
        max(0.0, float(by_seed.var(ddof=1)) - rest / clips), max(0.0, float(by_clip.var(ddof=1)) - rest / seeds), rest
    )


def paired_interval(differences: NDArray[np.float64]) -> Interval:
    """Mean of differences (seeds, clips) with its 95 % interval."""
    parts, (seeds, clips) = variance_parts(differences), differences.shape
    half = _quantile(1 - LEVEL / 2, parts.freedom(seeds, clips)) * sqrt(parts.of_mean(seeds, clips))
    mean = float(differences.mean())
    return Interval(mean, mean - half, mean + half)


def power(parts: VarianceParts, difference: float, seeds: int, clips: int) -> float:
    """Share of studies of this size that would decide a true difference: its interval has 0 on the right side."""
    error, freedom = sqrt(parts.of_mean(seeds, clips)), parts.freedom(seeds, clips)
    if error == 0:
        return float(difference != 0)
    border = _quantile(1 - LEVEL / 2, freedom)
    return float(1.0 - nctdtr(min(freedom, LARGE), abs(difference) / error, border))


def seeds_needed(parts: VarianceParts, difference: float, clips: int) -> int | None:
    """Seeds that decide a difference on so many clips with the power `POWER`; None where no number does."""
    return _least(lambda seeds: power(parts, difference, seeds, clips))


def clips_needed(parts: VarianceParts, difference: float, seeds: int) -> int | None:
    """Clips that decide a difference with so many seeds with the power `POWER`; None where no number does."""
    return _least(lambda clips: power(parts, difference, seeds, clips))


def smallest_decided(parts: VarianceParts, seeds: int, clips: int) -> float:
    """The smallest difference that a study of this size decides with the power `POWER`."""
    error = sqrt(parts.of_mean(seeds, clips))
    if error == 0:
        return 0.0
    low, high = 0.0, 2.0 * error
    while power(parts, high, seeds, clips) < POWER:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if power(parts, middle, seeds, clips) < POWER else (low, middle)
    return high


def _quantile(share: float, freedom: float) -> float:
    return float(stdtrit(min(freedom, LARGE), share))


def _least(reached: Callable[[int], float]) -> int | None:
    """The least number from 2 on with the power `POWER`, which grows with it; None beyond `MOST`."""
    low, high = 1, 2
    while reached(high) < POWER:
        if high >= MOST:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reached(middle) < POWER else (low, middle)
    return high
