"""A sound file played to the listener: at real speed, faster, or as fast as captions can be made."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgecap.audio.file import AudioFile
from edgecap.audio.resample import resampled
from edgecap.live.sources.source import NOTHING, Chunk
from edgecap.types import Waveform
from edgecap.util.text import clean

PIECE_SECONDS = 0.1
"""Sound given at once without a clock."""


class FileSource:
    """The sound of a file. At a speed of 0 nothing is dropped; else it goes on like a microphone."""

    overflows = 0
    fault = ""
    live = False

    def __init__(
        self,
        path: str | Path,
        target_rate: int,
        *,
        speed: float = 1.0,
        window: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`speed` is seconds of sound per second, 0 for no clock. Raises AudioError for a file that is not audio."""
        self._file = AudioFile(path)
        self.name, self.speed, self.lossless = clean(self._file.name), speed, speed == 0.0
        self.ended = False
        self._rate, self._most = target_rate, round(window * target_rate)
        self._clock, self._sleep = clock, sleep
        self._blocks = resampled(self._file.mono(), self._file.sample_rate, target_rate)
        self._pending: Waveform = NOTHING
        self._began: float | None = None
        self._given = 0

    def read(self, timeout: float) -> Chunk:
        """Sound up to now, at the configured speed."""
        if self.lossless:
            return Chunk(self._take(round(PIECE_SECONDS * self._rate)))
        if self._began is None:
            self._began = self._clock()
        self._sleep(timeout / max(1.0, self.speed))
        due = int((self._clock() - self._began) * self.speed * self._rate) - self._given
        lost = 0
        while due > self._most and not self.ended:  # a late reader gets the newest sound
            lost += self._take(min(due - self._most, self._rate)).size
            due = int((self._clock() - self._began) * self.speed * self._rate) - self._given
        return Chunk(self._take(due) if due > 0 else NOTHING, lost / self._rate)

    def wait_for_reader(self) -> bool:
        """Never needed: a file is no live source."""
        return False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _take(self, count: int) -> Waveform:
        """The next `count` samples, fewer at the end. Raises AudioError where the file is damaged."""
        parts, missing = [self._pending], count - self._pending.size
        while missing > 0:
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
                break
            parts.append(block)
            missing -= block.size
        held = np.concatenate(parts)
        self._pending = held[count:]
        self._given += min(count, held.size)
        return held[:count]
