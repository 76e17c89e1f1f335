"""Cuts a stream of samples where something is heard: for examples from a microphone."""

from __future__ import annotations

from collections import deque

import numpy as np

from edgecap.audio.samples import LEVEL_FLOOR_DBFS
from edgecap.types import Waveform

BLOCK_SECONDS = 0.05
BEFORE_SECONDS = 0.3
"""Sound kept from before the level rose."""
PAUSE_SECONDS = 1.0
"""Quiet after which the sound is over; a shorter pause belongs to it, as between two strokes of a bell."""
LONGEST_SECONDS = 10.0
RISE_DB = 12.0
"""How far above the usual level a sound must be."""
FALL_DB = 6.0
QUIETEST_DBFS = -60.0
"""What is quieter is no sound, however quiet the room is."""
MEMORY = 200
"""Blocks over which the usual level is taken."""
SETTLED = 10
"""Blocks of room that must have been heard first."""


class OnsetCutter:
    """Takes blocks of samples in the order of time, gives the stretches in which something was heard."""

    def __init__(self, rate: int) -> None:
        """`rate` is that of the samples, in hertz."""
        self._size = round(BLOCK_SECONDS * rate)
        self._rest = np.empty(0, np.float32)
        self._levels: deque[float] = deque(maxlen=MEMORY)
        self._before: deque[Waveform] = deque(maxlen=round(BEFORE_SECONDS / BLOCK_SECONDS))
        self._sound: list[Waveform] = []
        self._quiet = 0

    @property
    def usual(self) -> float:
        """The room's level, dBFS."""
        return float(np.percentile(self._levels, 30)) if self._levels else LEVEL_FLOOR_DBFS

    def push(self, samples: Waveform) -> list[Waveform]:
        """Take mono samples (n,); the sounds that ended in them, each (m,)."""
        self._rest = np.concatenate((self._rest, samples))
        sounds = []
        while self._rest.size >= self._size:
            block, self._rest = self._rest[: self._size], self._rest[self._size :]
            sound = self._step(block)
            if sound is not None:
                sounds.append(sound)
        return sounds

    def _step(self, block: Waveform) -> Waveform | None:
        level = 10.0 * float(np.log10(max(float(np.var(block)), 10.0 ** (LEVEL_FLOOR_DBFS / 10.0))))
        floor = max(self.usual, QUIETEST_DBFS - RISE_DB)
        if not self._sound:
            if len(self._levels) >= SETTLED and level >= floor + RISE_DB:
                self._sound, self._quiet = [*self._before, block], 0
                self._before.clear()
            else:
                self._levels.append(level)
                self._before.append(block)
            return None
        self._sound.append(block)
        self._quiet = self._quiet + 1 if level < floor + FALL_DB else 0
        pause = round(PAUSE_SECONDS / BLOCK_SECONDS)
        if self._quiet < pause and len(self._sound) * BLOCK_SECONDS < LONGEST_SECONDS:
            return None
        sound, self._sound = np.concatenate(self._sound), []
        return sound[: sound.size - max(0, self._quiet - 4) * self._size]
