"""The interface of the decoders of sound files, and what keeps their rate and channels the same to the end."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from edgecap.audio.resample import Resampler
from edgecap.types import Waveform


class DecodeError(Exception):
    """A library's reason why a file cannot be opened or read on; `edgecap.audio.file` makes an AudioError of it."""


class Decoder(Protocol):
    """An open sound file, read from its beginning to its end, once."""

    sample_rate: int
    """Samples per second of each channel."""
    channels: int
    promised: float | None
    """Seconds according to the file, counted and not guessed; None where it does not say."""
    tolerance: float
    """Seconds that may be missing at the end although nothing is lost, such as an encoder's padding."""

    def read(self, frames: int) -> Waveform:
        """At most `frames` samples of each channel: float32, (n, channels); none at the end. Raises DecodeError."""

    def close(self) -> None:
        """Release the file; a second time does nothing."""


class Conformer:
    """Blocks at another rate or with other channels than a sound's beginning, made like that."""

    def __init__(self, source_rate: int, target_rate: int, channels: int) -> None:
        self._resampler = Resampler(source_rate, target_rate) if source_rate != target_rate else None
        self._channels = channels

    def push(self, block: Waveform) -> Waveform:
        """(n, any channels) to (m, channels); an empty block gives what the filter still holds, then nothing."""
        if self._resampler is None:
            return with_channels(block, self._channels)
        mono = self._resampler.push(block.mean(axis=1, dtype=np.float32), last=not len(block))
        if not len(block):
            self._resampler = None
        return with_channels(mono[:, None], self._channels)


def with_channels(block: Waveform, channels: int) -> Waveform:
    """(n, any channels) to (n, channels): as it is, or the mean in each channel."""
    if block.shape[1] == channels:
        return block
    return np.repeat(block.mean(axis=1, keepdims=True, dtype=np.float32), channels, axis=1)
