"""Sound without end: clips with pauses of quiet noise between them, and where each clip began."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

import numpy as np

from edgecap.types import Waveform
from edgecap_bench.harness.clips import load_clips

RATE = 48_000
"""What a USB microphone gives; resampling is part of the way."""
CLIP_SECONDS = 6.0
SHORTEST_PAUSE, LONGEST_PAUSE = 12.0, 60.0
QUIET_DBFS = -75.0
LOUD_RMS = 0.05
EARLY, LATE = 0.5, 3.0
"""Seconds before and after a clip's beginning within which an event's beginning is taken for its own."""


class Day:
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
        self._given = 0
        self._clip: Waveform = np.empty(0, np.float32)
        self._pause = round(SHORTEST_PAUSE * RATE)

    @property
    def heard(self) -> float:
        """Seconds given so far."""
        return self._given / RATE

    def block(self, seconds: float) -> bytes:
        """The next so many seconds as s16le."""
        count = round(seconds * RATE)
        block = np.resize(np.roll(self._noise, -(self._given % RATE)), count)
        at = 0
        while at < count:
            if self._pause:
                step = min(self._pause, count - at)
                self._pause -= step
                if not self._pause:
                    self._clip = self._clips[int(self._random.integers(len(self._clips)))]
                    self.played.append((self._given + at + step) / RATE)
            else:
                step = min(self._clip.size, count - at)
                block[at : at + step] += self._clip[:step]
                self._clip = self._clip[step:]
                if not self._clip.size:
                    self._pause = round(float(self._random.uniform(SHORTEST_PAUSE, LONGEST_PAUSE)) * RATE)
            at += step
        self._given += count
        return (np.clip(block, -1.0, 1.0) * 32_767).astype("<i2").tobytes()

    def began(self, start: float) -> float | None:
        """Where the clip began whose beginning an event's `start` is; None for the beginning of anything else."""
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
