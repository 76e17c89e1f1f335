"""What every decoder of a sound file offers."""

from __future__ import annotations

from typing import Protocol

from edgecap.types import Waveform


class DecodeError(Exception):
    """The library's own reason why a file does not open or does not go on; never leaves `edgecap.audio`."""


class Decoder(Protocol):
    """An open sound file, read from its beginning to its end, once."""

    sample_rate: int
    """Samples per second of each channel."""
    channels: int
    promised: float | None
    """Seconds that the file says it has, counted and not guessed; None where it does not say."""
    tolerance: float
    """Seconds that may be missing at the end without anything being lost, as of an encoder's padding."""

    def read(self, frames: int) -> Waveform:
        """At most `frames` samples of each channel: float32, (n, channels); none at the end. Raises DecodeError."""

    def close(self) -> None:
        """Release the file; a second time does nothing."""
