"""Taught sounds in the frame embeddings of one window."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgecap.caption import SoundMatch
from edgecap.sounds.bank import Bank
from edgecap.sounds.sound import Frames, TaughtSound

SLOPE = 30.0


class SoundMatcher:
    """Compares windows with taught sounds. It holds no state between calls, so threads may share it."""

    def __init__(self, sounds: Sequence[TaughtSound], bank: Bank) -> None:
        """`sounds` are those that `bank.model` taught; others are left out (`unfit` names them)."""
        self.sounds = tuple(sound for sound in sounds if sound.model == bank.model)
        self.unfit = tuple(sound for sound in sounds if sound.model != bank.model)
        """Sounds that another model learnt, which this one cannot recognise."""
        self._bank = bank
        self._templates = [[bank.project(example) for example in sound.examples] for sound in self.sounds]

    def match(self, frames: Frames, seconds_per_frame: float = 0.32) -> tuple[SoundMatch, ...]:
        """The taught sounds in a window, surest first; times are seconds from the window's beginning.

        `frames` is what `edgecap.sounds.bank.frame_embeddings` gives for the window.
        """
        window, matches = self._bank.project(frames), []
        for sound, templates in zip(self.sounds, self._templates, strict=True):
            score, place, length = max(_best_place(window, template) for template in templates)
            if score >= sound.threshold:
                confidence = 1.0 / (1.0 + math.exp(-SLOPE * (score - sound.threshold)))
                start, end = place * seconds_per_frame, (place + length) * seconds_per_frame
                matches.append(SoundMatch(sound.name, sound.identifier, confidence, start, end))
        return tuple(sorted(matches, key=lambda match: -match.confidence))


def _best_place(window: Frames, template: Frames) -> tuple[float, int, int]:
    """Mean cosine where a template fits a window best, the frame there, and the number of frames."""
    if len(template) > len(window):
        template = template[: len(window)]
    products, length = window @ template.T, len(template)
    scores = [float(np.trace(products[place : place + length])) / length for place in range(len(window) - length + 1)]
    place = int(np.argmax(scores))
    return scores[place], place, length
