"""The spectrogram of the page: columns of bytes from the log-mel frames that the listener computes anyway."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.frontend import FrontEnd
from edgecap.types import LogMel

COLUMN_SECONDS = 0.03
"""One column of the picture: the mean of three frames of 10 ms, so that each of 30 updates a second brings one."""
LOWEST_DB, HIGHEST_DB = -45.0, 30.0
"""Log-mel at a byte of 0 and of 255. A microphone's own noise lies near the lower one, loud rain at 0."""
MOST_COLUMNS = 250
"""Held until they are sent: some seconds."""


class Spectrum:
    """Frames in, columns out."""

    def __init__(self, front_end: FrontEnd) -> None:
        frame_seconds = front_end.hop_length / front_end.sample_rate
        self.bands = front_end.n_mels
        self._group = max(1, round(COLUMN_SECONDS / frame_seconds))
        self.column_seconds = self._group * frame_seconds
        """Seconds from one column to the next."""
        # "log" is a natural logarithm, of the magnitude or of the power; ten decibels are a factor of ten in power.
        natural = (20.0 if front_end.power == 1 else 10.0) / math.log(10.0)
        self._decibels = np.float32(natural if front_end.compression == "log" else 1.0)
        self._rest: LogMel = np.empty((0, self.bands), np.float32)

    def push(self, frames: LogMel) -> None:
        """Take frames of log-mel, shape (n, n_mels) float32, without a floor."""
        self._rest = np.concatenate((self._rest, frames))[-MOST_COLUMNS * self._group :]

    def take(self) -> bytes:
        """The columns that became complete, oldest first, `bands` bytes each from the lowest band up."""
        count = len(self._rest) // self._group
        complete, self._rest = np.split(self._rest, [count * self._group])
        mean = complete.reshape(count, self._group, self.bands).mean(axis=1) * self._decibels
        scaled = (mean - LOWEST_DB) * (255.0 / (HIGHEST_DB - LOWEST_DB))
        picture: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return picture.tobytes()

    def clear(self) -> None:
        """Drop what was not taken."""
        self._rest = self._rest[:0]
