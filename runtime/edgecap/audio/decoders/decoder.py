"""The interface of the decoders of sound files."""

from __future__ import annotations

from typing import Protocol

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
