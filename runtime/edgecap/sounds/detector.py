"""One taught sound: the mean of its examples among whitened embeddings, compared with every stretch of a window.

A window's frames are averaged over stretches of three lengths, so that a short sound is found wherever it lies among
others, and a long one by all of it. What a cosine is worth at each length, the bank says: scores are counted in steps
of its tail, so that the lengths can be compared and the rarest one decides. docs/sounds.md has what this is worth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecap.sounds.bank import Bank, segments_of, unit
from edgecap.sounds.sound import Frames, TaughtSound

LENGTHS = (5, 10, 31)
"""Frames of a stretch, of 0.32 s each: the last is a window of ten seconds."""
TAIL, END = 0.1, 0.01
"""Shares of the bank's windows between which the tail of their highest scores is fitted."""
LARGEST = 0.9999
"""The highest cosine that is told from 1."""
REFUSED = -1e3
"""Score of a stretch that is more like a counter-example than like the sound."""
CAUTION = 4.0
"""How much oftener than the bank other sets of unrelated sound are taken to reach a threshold."""

Stretches = Mapping[int, Frames]
"""Length → means over stretches of so many frames, (…, places, width), each row of length 1."""


@dataclass(frozen=True)
class BestPlace:
    """Where a window is most like a sound."""

    score: float
    first: int
    """Frame at which the stretch begins."""
    frames: int
    """Its length."""


@dataclass(frozen=True)
class _Tail:
    """A tail that falls by e for each `step` above `often`, which one window in ten exceeds."""

    often: float
    step: float

    @classmethod
    def of(cls, highest: NDArray[np.float32]) -> _Tail:
        """Of the windows' highest scores (n,). What is above the upper quantile may be this very sound."""
        often, rarely = np.quantile(highest, [1.0 - TAIL, 1.0 - END])
        return cls(float(often), max(float(rarely - often), 1e-6) / math.log(TAIL / END))


class Detector:
    """Scores how much windows are like the examples of a sound."""

    def __init__(self, examples: Sequence[Frames], counter_examples: Sequence[Frames], bank: Bank) -> None:
        """`examples` and `counter_examples` are frame embeddings, each (frames, embedding); at least one example."""
        self._bank = bank
        self._centre = unit(np.mean([unit(bank.project(frames).mean(axis=0)) for frames in examples], axis=0))
        others = [unit(bank.project(frames).mean(axis=0)) for frames in counter_examples]
        self._others = np.stack(others, axis=1) if others else None
        unrelated = {length: bank.segments(length) for length in LENGTHS}
        # the tail without counter-examples, which would take away the bank's highest scores
        self._tails = {length: _Tail.of(self._likeness(part).max(axis=1)) for length, part in unrelated.items()}
        self._unrelated = self.highest(unrelated)

    @classmethod
    def of(cls, sound: TaughtSound, bank: Bank) -> Detector:
        """The detector of a taught sound."""
        return cls(sound.examples, sound.counter_examples, bank)

    def threshold(self, per_hour: float) -> float:
        """The score that unrelated sound reaches so often an hour.

        Up to one of the bank's windows in ten it is a quantile; for rarer ones the exponential tail is continued.
        """
        chance = min(0.5, per_hour / CAUTION * self._bank.window_seconds / 3_600.0)
        if chance >= TAIL:
            return float(np.quantile(self._unrelated, 1.0 - chance))
        tail = _Tail.of(self._unrelated)
        return tail.often + tail.step * math.log(TAIL / chance)

    def highest(self, stretches: Stretches) -> NDArray[np.float32]:
        """The highest score of each of several windows: stretches (windows, places, width) → (windows,)."""
        highest = [self._scores(length, part).max(axis=-1) for length, part in stretches.items()]
        return np.asarray(np.max(highest, axis=0), np.float32)

    def best(self, frames: Frames) -> BestPlace:
        """Where frame embeddings (n, embedding) are most like the sound."""
        return self.best_of(stretches_of(self._bank.project(frames)), len(frames))

    def best_of(self, stretches: Stretches, frames: int) -> BestPlace:
        """Where a window of so many frames is most like the sound; stretches (places, width)."""
        places = []
        for length, part in stretches.items():
            scores = self._scores(length, part)
            first = int(np.argmax(scores))
            places.append(BestPlace(float(scores[first]), first, min(length, frames)))
        return max(places, key=lambda place: place.score)

    def _likeness(self, part: Frames) -> NDArray[np.float32]:
        """Cosines on Fisher's scale, which has no upper limit."""
        return np.asarray(np.arctanh(np.clip(part @ self._centre, -LARGEST, LARGEST)), np.float32)

    def _scores(self, length: int, part: Frames) -> NDArray[np.float32]:
        """Stretches of a length, (…, width) → (…): steps of the bank's tail above what one window in ten exceeds."""
        tail = self._tails[length]
        scores = np.asarray((self._likeness(part) - tail.often) / tail.step, np.float32)
        if self._others is None:
            return scores
        other = (part @ self._others).max(axis=-1) > part @ self._centre
        return np.where(other, np.float32(REFUSED), scores)


def stretches_of(projected: Frames) -> Stretches:
    """All stretches of projected frames (…, frames, width)."""
    return {length: segments_of(projected, length) for length in LENGTHS}
