"""One taught sound: its centroid among whitened embeddings, compared with every stretch of a window.

A window's frames are averaged over stretches as long as the examples, and each is compared with the mean of the
examples, so a short sound is found wherever it lies among others. docs/sounds.md tells how this was chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecap.sounds.bank import Bank, segments_of, unit
from edgecap.sounds.sound import Frames, TaughtSound

SHORTEST, LONGEST = 3, 10
"""Frames of a stretch, of 0.32 s each: a shorter one is mostly noise, a longer one has what else is heard in it."""
REFUSED = -1.0
"""Score of a stretch that is more like a counter-example than like the sound: the lowest cosine."""


@dataclass(frozen=True)
class BestPlace:
    """Where a window is most like a sound."""

    score: float
    """Cosine, at most 1."""
    first: int
    """Frame at which the stretch begins."""
    frames: int
    """Its length."""


class Detector:
    """Scores how much windows are like the examples of a sound."""

    def __init__(self, examples: Sequence[Frames], counter_examples: Sequence[Frames], bank: Bank) -> None:
        """`examples` and `counter_examples` are frame embeddings, each (frames, embedding); at least one example."""
        projected = [bank.project(frames) for frames in examples]
        self.length = int(np.clip(np.median([len(frames) for frames in projected]), SHORTEST, LONGEST))
        """Frames of the stretches that are compared."""
        self._centre = unit(np.mean([unit(frames.mean(axis=0)) for frames in projected], axis=0))
        others = [unit(bank.project(frames).mean(axis=0)) for frames in counter_examples]
        self._others = np.stack(others, axis=1) if others else None
        self._bank = bank

    @classmethod
    def of(cls, sound: TaughtSound, bank: Bank) -> Detector:
        """The detector of a taught sound."""
        return cls(sound.examples, sound.counter_examples, bank)

    def score(self, segments: Frames) -> NDArray[np.float32]:
        """Stretches (…, width), each row of length 1 → their cosines (…)."""
        scores = np.asarray(segments @ self._centre)
        if self._others is None:
            return scores
        return np.where((segments @ self._others).max(axis=-1) > scores, np.float32(REFUSED), scores)

    def best(self, frames: Frames) -> BestPlace:
        """Where frame embeddings (n, embedding) are most like the sound."""
        return self.best_of(segments_of(self._bank.project(frames), self.length), len(frames))

    def best_of(self, segments: Frames, frames: int) -> BestPlace:
        """Where the stretches (places, width) of a window of so many frames are most like the sound."""
        scores = self.score(segments)
        first = int(np.argmax(scores))
        return BestPlace(float(scores[first]), first, min(self.length, frames))
