"""The interface of sources of sound: mono at the model's rate, without waiting for long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgecap.audio.resample import Resampler
from edgecap.audio.samples import LARGEST_SAMPLE, Downmix
from edgecap.types import Waveform

NOTHING: Waveform = np.empty(0, np.float32)


@dataclass(frozen=True)
class Chunk:
    """Sound since the last read."""

    samples: Waveform
    """Shape (n,) float32 at the model's rate."""
    lost: float = 0.0
    """Seconds of sound that were dropped just before, because it was not read in time."""
    fresh: bool = False
    """Whether it does not continue what came before (the device was opened anew)."""


class Intake:
    """Blocks of a live input to mono samples at the model's rate; NaN and infinite samples become 0.

    A file with such samples is refused; a microphone that listens for weeks must not stop, nor spoil the state of the
    low-pass, because of one.
    """

    def __init__(self, sample_rate: float, target_rate: int) -> None:
        self._resampler, self._downmix = Resampler(sample_rate, target_rate), Downmix()

    def push(self, block: Waveform) -> Waveform:
        """Take a block (n, channels) float32; the mono samples (m,) that are ready."""
        if not float(np.max(np.abs(block), initial=0.0)) <= LARGEST_SAMPLE:  # true for NaN too
            block = np.clip(np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0), -LARGEST_SAMPLE, LARGEST_SAMPLE)
        return self._resampler.push(self._downmix.push(block))

    def flush(self) -> Waveform:
        """The samples that the low-pass still holds when the input has ended."""
        return self._resampler.push(NOTHING, last=True)


class AudioSource(Protocol):
    """A stream of sound."""

    lossless: bool
    """Whether it waits for its reader; else it goes on and the newest sound wins."""
    speed: float
    """Seconds of sound per second; 0 where it comes as fast as it is read."""
    live: bool
    """Whether its sound is made as time passes, so that what it does not give is lost."""

    @property
    def name(self) -> str:
        """Shown to users."""
        ...

    @property
    def fault(self) -> str:
        """Why no sound comes; empty where it does."""
        ...

    @property
    def ended(self) -> bool:
        """Whether its sound is over."""
        ...

    @property
    def overflows(self) -> int:
        """Times that the system lost sound before edgecap saw it."""
        ...

    def read(self, timeout: float) -> Chunk:
        """New sound; waits at most `timeout` seconds for it. Raises DeviceError, AudioError."""
        ...

    def wait_for_reader(self) -> bool:
        """It turned out to be a recording: `lossless` and not `live` from now on; False where it cannot wait."""
        ...

    def close(self) -> None:
        """Release the device or file."""
        ...
