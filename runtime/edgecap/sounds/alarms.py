"""Smoke and carbon-monoxide alarms, by their pattern in time: the published signals, not what they sound like.

The standards leave the spectrum open, so every mel band is looked at alone. A group of pulses is one where in some band
each pulse is louder than the gaps beside it and the quiet before and after it, and all pulses are equally loud; an
alarm is two or three groups in that band, equally loud, a period apart.

Nothing here is a safety device: what is masked, too far away or of another standard is missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.frontend import FrontEnd, hertz_to_mel
from edgecap.sounds.alarm_patterns import DECAY, EDGE, PATTERNS, TOLERANCE, AlarmPattern
from edgecap.types import LogMel

LOWEST_HERTZ = 400.0
"""Centre of the lowest band that is looked at."""
STEP = 2
"""Frames from one place at which a group may lie to the next."""
BATCH_SECONDS = 0.5
"""Frames are looked at in batches of this length."""
MOST_LOUD = 0.15
"""Most of the quiet around a group that may be as loud as its pulses."""

Levels = NDArray[np.float32]


@dataclass(frozen=True)
class AlarmHeard:
    """A pattern that was recognised."""

    pattern: AlarmPattern
    start: float
    """Seconds of sound before the group before the last."""
    end: float
    """Seconds of sound up to the end of the last group."""
    margin: float
    """Decibels by which it passes the strictest of its bounds."""


def decibels(frames: LogMel, front_end: FrontEnd) -> Levels:
    """Levels of log-mel frames without a window's level, (n, n_mels), in decibels."""
    if front_end.compression == "decibel":
        return frames if front_end.power == 2 else 2.0 * frames
    energy = np.maximum(np.exp(frames) - np.float32(front_end.log_offset), np.float32(0.1 * front_end.log_offset))
    return np.asarray(np.float32(20.0 / front_end.power) * np.log10(energy), np.float32)


class AlarmDetector:
    """Looks for the patterns in a stream of log-mel frames, in batches, so that it costs little."""

    def __init__(self, front_end: FrontEnd, patterns: Sequence[AlarmPattern] = PATTERNS) -> None:
        self._front_end, self._patterns = front_end, patterns
        lowest, highest = hertz_to_mel(front_end.f_min), hertz_to_mel(front_end.f_max)
        centres = np.linspace(float(lowest), float(highest), front_end.n_mels + 2)[1:-1]
        self._first_band = int(np.searchsorted(centres, float(hertz_to_mel(LOWEST_HERTZ))))
        self._seconds = front_end.hop_length / front_end.sample_rate
        self._batch = STEP * round(BATCH_SECONDS / self._seconds / STEP)
        self._waiting: list[LogMel] = []
        self._searches = self._begin()

    def push(self, frames: LogMel, end: float) -> list[AlarmHeard]:
        """Take frames (n, n_mels) as `MelStream.newest` gives them, which end after `end` seconds of sound.

        The patterns that were recognised in them: one that goes on is given again with each group.
        """
        self._waiting.append(frames[:, self._first_band :])
        if sum(map(len, self._waiting)) < self._batch:
            return []
        frames = np.concatenate(self._waiting)
        complete = len(frames) - len(frames) % STEP
        self._waiting = [frames[complete:]]
        levels, end = decibels(frames[:complete], self._front_end), end - len(self._waiting[0]) * self._seconds
        return [heard for search in self._searches for heard in search.push(levels, end)]

    def restart(self) -> None:
        """What comes next does not continue what was heard."""
        self._waiting, self._searches = [], self._begin()

    def _begin(self) -> list[_Search]:
        return [_Search(pattern, self._seconds) for pattern in self._patterns]


class _Search:
    """One pattern in a stream."""

    def __init__(self, pattern: AlarmPattern, seconds: float) -> None:
        self._pattern, self._seconds = pattern, seconds
        self._reach = STEP * (int(pattern.reach / seconds / STEP) + 1)
        self._groups = [_GroupWindows(pattern, scale, seconds) for scale in pattern.scales]
        shortest, longest = ((1.0 + sign * TOLERANCE) * pattern.period / seconds / STEP for sign in (-1, 1))
        self._lags = range(int(shortest), int(longest) + 2)
        self._levels = self._scores = self._pairs = self._loudness = np.empty((0, 0), np.float32)

    def push(self, levels: Levels, end: float) -> list[AlarmHeard]:
        """Levels (n, bands), n a multiple of STEP, which end after `end` seconds: the pattern in them, or nothing."""
        if not self._levels.size:  # before the beginning there was no pulse
            self._levels = np.full((2 * self._reach, levels.shape[1]), levels.mean(), np.float32)
            self._scores = np.full((self._lags[-1], levels.shape[1]), -np.inf, np.float32)
            self._pairs = self._loudness = self._scores
        self._levels = np.concatenate((self._levels[-2 * self._reach :], levels))
        sums, squares = _running_sum(self._levels), _running_sum(np.square(self._levels))
        places = np.arange(self._reach, self._reach + len(levels), STEP)
        scores, loudness = self._groups[0].score(self._levels, sums, squares, places)
        for group in self._groups[1:]:
            other, loud = group.score(self._levels, sums, squares, places)
            loudness = np.where(other > scores, loud, loudness)
            scores = np.maximum(other, scores)
        pairs, triples, lags = self._chain(scores, loudness)
        history = self._lags[-1]
        self._scores = np.concatenate((self._scores, scores))[-history:]
        self._loudness = np.concatenate((self._loudness, loudness))[-history:]
        self._pairs = np.concatenate((self._pairs, pairs))[-history:]
        margins = np.maximum(pairs - self._pattern.least_pair, triples - self._pattern.least_triple).max(axis=1)
        passed = np.flatnonzero(margins >= 0.0)
        if not passed.size:
            return []
        half, step = self._pattern.length / 2, STEP * self._seconds
        middles = end - self._reach * self._seconds - (len(places) - passed) * step
        start = float(middles[0]) - float(lags[passed[0]]) * step - half
        return [AlarmHeard(self._pattern, max(0.0, start), float(middles[-1]) + half, float(margins.max()))]

    def _chain(self, scores: Levels, loudness: Levels) -> tuple[Levels, Levels, NDArray[np.intp]]:
        """Scores of two and of three groups of which the last lies at each new place, (places, bands); and the lag, in
        places, from the group before.
        """
        count = len(scores)
        pairs, triples = np.full_like(scores, -np.inf), np.full_like(scores, -np.inf)
        lags = np.zeros(count, np.intp)
        bands = np.flatnonzero((scores >= 0.0).any(axis=0))
        if not bands.size:
            return pairs, triples, lags
        own, loud = scores[:, bands], loudness[:, bands]
        before = [
            np.concatenate((past[:, bands], now[:, bands]))
            for past, now in ((self._scores, scores), (self._loudness, loudness), (self._pairs, pairs))
        ]
        best, best_triple = pairs[:, bands], triples[:, bands]
        for lag in self._lags:
            last = slice(len(before[0]) - count - lag, len(before[0]) - lag)
            bound = np.minimum(own, self._pattern.most_spread - np.abs(loud - before[1][last]))
            pair, triple = np.minimum(bound, before[0][last]), np.minimum(bound, before[2][last])
            lags[pair.max(axis=1) > best.max(axis=1)] = lag
            best, best_triple = np.maximum(best, pair), np.maximum(best_triple, triple)
        pairs[:, bands], triples[:, bands] = best, best_triple
        return pairs, triples, lags


def _running_sum(levels: Levels) -> NDArray[np.float64]:
    """Sums of the rows before each row, and of all, (n + 1, bands)."""
    return np.concatenate((np.zeros((1, levels.shape[1])), np.cumsum(levels, axis=0, dtype=np.float64)))


class _GroupWindows:
    """Where the pulses of a group, its gaps and the quiet around it lie, as frames from its middle."""

    def __init__(self, pattern: AlarmPattern, scale: float, seconds: float) -> None:
        self._pattern = pattern
        on, off = scale * pattern.on, scale * pattern.off

        def frames(first: float, last: float) -> tuple[int, int]:
            start = round(first / seconds)
            return start, max(start + 1, round(last / seconds))

        middles = [(place - (pattern.pulses - 1) / 2) * (on + off) for place in range(pattern.pulses)]
        self._on = [frames(middle - 0.25 * on, middle + 0.25 * on) for middle in middles]
        gaps = [middle + (on + off) / 2 for middle in middles[:-1]]
        self._off = [frames(middle - 0.15 * off, middle + 0.3 * off) for middle in gaps]
        half = (1.0 + TOLERANCE) * pattern.length / 2
        self._quiet = [
            frames(-half - EDGE - pattern.quiet, -half - EDGE),
            frames(half + DECAY, half + DECAY + pattern.quiet),
        ]
        more = [
            sign * factor * (pattern.pulses + 1) / 2 * (pattern.on + pattern.off)
            for sign in (-1, 1)
            for factor in (1.0 - TOLERANCE, 1.0, 1.0 + TOLERANCE)
        ]
        self._more = [frames(middle - 0.25 * pattern.on, middle + 0.25 * pattern.on) for middle in more]
        """Where one pulse more would lie."""

    def score(
        self, levels: Levels, sums: NDArray[np.float64], squares: NDArray[np.float64], places: NDArray[np.intp]
    ) -> tuple[Levels, Levels]:
        """Decibels by which a group at each place passes its strictest bound, and its loudness, (places, bands)."""

        def mean(window: tuple[int, int], sums: NDArray[np.float64] = sums) -> Levels:
            first, last = window
            return np.asarray((sums[places + last] - sums[places + first]) / (last - first), np.float32)

        pattern = self._pattern
        on = [mean(window) for window in self._on]
        score = np.full_like(on[0], np.inf)
        for left, right, window in zip(on, on[1:], self._off, strict=False):
            score = np.minimum(score, np.minimum(left, right) - mean(window) - pattern.least_gap)
        for level, window in zip(on, self._on, strict=True):
            variance = np.maximum(mean(window, squares) - np.square(level), 0.0)
            score = np.minimum(score, pattern.most_ripple - np.sqrt(variance))
        softest, loudest = np.minimum.reduce(on), np.maximum.reduce(on)
        for windows, least in ((self._quiet, pattern.least_quiet), (self._more, pattern.least_gap)):
            for window in windows:
                score = np.minimum(score, softest - mean(window) - least)
        score = np.minimum(score, pattern.most_spread - (loudest - softest))
        hits, bands = np.nonzero(score >= 0.0)
        for first, last in self._quiet if hits.size else ():
            around = levels[places[hits][:, None] + np.arange(first, last), bands[:, None]]
            loud = (around > softest[hits, bands][:, None] - pattern.least_gap).mean(axis=1)
            score[hits[loud > MOST_LOUD], bands[loud > MOST_LOUD]] = -np.inf
        return score, np.asarray(np.mean(on, axis=0), np.float32)
