"""Sound without end: clips with pauses of quiet noise between them, and where each clip began."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

import numpy as np

from edgecap.audio.samples import to_int16
from edgecap.types import Waveform
from edgecap_bench.harness.clips import load_clips

RATE = 48_000
"""What a USB microphone gives; resampling is part of the way."""
CLIP_SECONDS = 6.0
SHORTEST_PAUSE, LONGEST_PAUSE = 12.0, 60.0
QUIET_DBFS = -75.0
LOUD_RMS = 0.05
EARLY, LATE = 0.5, 3.0
"""Seconds before and after a clip's beginning within which an event belongs to it."""


class SoakSound:
    """A stream of blocks; the same each time."""

    rate = RATE

    def __init__(self, folder: Path | None) -> None:
        """`folder` holds the clips; made ones for None. Raises AudioError."""
        self.played: list[float] = []
        """Where each clip began, seconds."""
        self._random = np.random.default_rng(5)
        self._clips = [self._levelled(clip.samples) for clip in load_clips(folder, RATE, round(CLIP_SECONDS * RATE))]
        noise = self._random.standard_normal(RATE) * 10 ** (QUIET_DBFS / 20)
        self._noise = noise.astype(np.float32)
        self._position = 0
        self._clip: Waveform = np.empty(0, np.float32)
        self._pause = round(SHORTEST_PAUSE * RATE)

    @property
    def position(self) -> float:
        """Seconds of sound so far."""
        return self._position / RATE

    def block(self, seconds: float) -> bytes:
        """The next so many seconds as s16le."""
        count = round(seconds * RATE)
        block = np.resize(np.roll(self._noise, -(self._position % RATE)), count)
        at = 0
        while at < count:
            if self._pause:
                step = min(self._pause, count - at)
                self._pause -= step
                if not self._pause:
                    self._clip = self._clips[int(self._random.integers(len(self._clips)))]
                    self.played.append((self._position + at + step) / RATE)
            else:
                step = min(self._clip.size, count - at)
                block[at : at + step] += self._clip[:step]
                self._clip = self._clip[step:]
                if not self._clip.size:
                    self._pause = round(float(self._random.uniform(SHORTEST_PAUSE, LONGEST_PAUSE)) * RATE)
            at += step
        self._position += count
        return to_int16(block).astype("<i2").tobytes()

    def clip_at(self, start: float) -> float | None:
        """Beginning of the clip that an event which starts at `start` belongs to; None where no clip began there."""
        place = bisect_right(self.played, start + EARLY)
        if place == 0 or start - self.played[place - 1] > LATE:
            return None
        return self.played[place - 1]

    @staticmethod
    def _levelled(samples: Waveform) -> Waveform:
        """A clip at one loudness, whose beginning is loud: the gate opens where it begins."""
        loud = int(np.argmax(np.abs(samples) > 0.1 * np.abs(samples).max()))
        rolled = np.roll(samples, -loud)
        return np.asarray(rolled * (LOUD_RMS / max(1e-6, float(np.sqrt(np.mean(rolled**2))))), np.float32)
