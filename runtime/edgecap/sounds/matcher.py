"""Taught sounds in the frame embeddings of one window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from edgecap.caption import SoundMatch
from edgecap.sounds.bank import Bank
from edgecap.sounds.detector import Detector, stretches_of
from edgecap.sounds.sound import Frames, TaughtSound


class Matcher(Protocol):
    """What recognises taught sounds."""

    @property
    def sounds(self) -> tuple[TaughtSound, ...]:
        """What it recognises now."""
        ...

    def match(self, frames: Frames) -> tuple[SoundMatch, ...]:
        """As `SoundMatcher.match`."""
        ...


class SoundMatcher:
    """Compares windows with taught sounds. It holds no state between calls, so threads may share it."""

    def __init__(self, sounds: Sequence[TaughtSound], bank: Bank) -> None:
        """`sounds` are those that the bank's model taught; others are left out."""
        self.sounds = tuple(sound for sound in sounds if sound.model == bank.model)
        """What it recognises."""
        self._bank = bank
        self._detectors = tuple(Detector.of(sound, bank) for sound in self.sounds)

    def match(self, frames: Frames) -> tuple[SoundMatch, ...]:
        """The taught sounds in a window, surest first; times are seconds from the window's beginning.

        `frames` is what `edgecap.sounds.bank.frame_embeddings` gives for the window, (n, embedding).
        """
        if not self.sounds or not len(frames):
            return ()
        step, matches = self._bank.seconds_per_frame, list[SoundMatch]()
        stretches = stretches_of(self._bank.project(frames))
        for sound, detector in zip(self.sounds, self._detectors, strict=True):
            place = detector.best_of(stretches, len(frames))
            if place.score >= sound.threshold:
                start, end = place.first * step, (place.first + place.frames) * step
                confidence = confidence_of(place.score, sound)
                matches.append(SoundMatch(sound.name, sound.identifier, confidence, start, end))
        return tuple(sorted(matches, key=lambda match: -match.confidence))


def confidence_of(score: float, sound: TaughtSound) -> float:
    """Confidence for a score from the threshold on: 0.5 there, 1 where a window is as like as the examples are."""
    above = (score - sound.threshold) / max(sound.typical - sound.threshold, 1e-3)
    return float(np.clip(0.5 + 0.5 * above, 0.5, 1.0))
