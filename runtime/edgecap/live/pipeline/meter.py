"""How loud a stream is, in blocks of 100 ms, each measured once."""

from __future__ import annotations

import math
from collections import deque
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.samples import LEVEL_BLOCK_SECONDS, LEVEL_FLOOR_DBFS
from edgecap.types import Waveform


class LevelMeter:
    """Levels of the newest blocks of a stream, in dB relative to full scale.

    A block's level is its RMS without its mean, as `edgecap.audio.samples.loudest_level` measures it.
    """

    def __init__(self, sample_rate: int, window_seconds: float) -> None:
        """`window_seconds` is how far back `loudest` looks at most."""
        self._flat = 0
        self._block = round(LEVEL_BLOCK_SECONDS * sample_rate)
        self._levels: deque[float] = deque(maxlen=max(1, round(window_seconds / LEVEL_BLOCK_SECONDS)))
        self._rest: Waveform = np.empty(0, np.float32)

    @property
    def flat_seconds(self) -> float:
        """How long all samples have been the same value: a dead input, not a quiet room."""
        return self._flat / round(1.0 / LEVEL_BLOCK_SECONDS)

    @property
    def now(self) -> float:
        """Level of the newest block."""
        return self._levels[-1] if self._levels else LEVEL_FLOOR_DBFS

    def push(self, samples: Waveform) -> list[float]:
        """Take samples (n,) float32; the levels of the blocks that became complete."""
        self._rest = np.concatenate((self._rest, samples))
        count = self._rest.size // self._block
        if not count:
            return []
        blocks = self._rest[: count * self._block].reshape(count, self._block)
        self._rest = self._rest[count * self._block :].copy()
        levels = _decibels(blocks)
        for block, level in zip(blocks, levels, strict=True):
            flat = level == LEVEL_FLOOR_DBFS and bool((block == block[0]).all())
            self._flat = self._flat + 1 if flat else 0
        self._levels.extend(levels)
        return levels

    def loudest(self, seconds: float) -> float:
        """Level of the loudest of the newest blocks."""
        count = max(1, round(seconds / LEVEL_BLOCK_SECONDS))
        return max(islice(reversed(self._levels), count), default=LEVEL_FLOOR_DBFS)

    def restart(self) -> None:
        """Forget everything."""
        self._levels.clear()
        self._rest, self._flat = np.empty(0, np.float32), 0


def _decibels(blocks: NDArray[np.float32]) -> list[float]:
    centred = blocks - np.add.reduce(blocks, axis=1, keepdims=True) / np.float32(blocks.shape[1])
    energies = np.einsum("ij,ij->i", centred, centred).tolist()
    return [max(LEVEL_FLOOR_DBFS, 10.0 * math.log10(max(energy / blocks.shape[1], 1e-20))) for energy in energies]
