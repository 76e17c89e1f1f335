"""Raw samples from a pipe: s16le, as `arecord -t raw` and `ffmpeg -f s16le` write them."""

from __future__ import annotations

import os
import select

import numpy as np

from edgecap.audio.samples import as_float
from edgecap.errors import AudioError
from edgecap.live.sources.file_kinds import begins_as, kind_of
from edgecap.live.sources.source import NOTHING, Chunk, Intake

MOST_BYTES = 1 << 20
"""Read at once."""
HEAD_BYTES = 8192
"""Bytes that are looked at before the first samples are taken."""


class PipeSource:
    """Signed 16-bit little-endian samples, channels interleaved, from a file descriptor.

    With a speed of 0 it is read no faster than captions are made, so that the writer waits and nothing is dropped;
    else everything that comes is taken at once, as from a microphone.
    """

    overflows = 0
    fault = ""

    def __init__(
        self,
        descriptor: int,
        sample_rate: int,
        channels: int,
        target_rate: int,
        *,
        speed: float = 1.0,
        name: str = "standard input",
    ) -> None:
        """`sample_rate` in hertz and `channels` are the pipe's. Raises AudioError for an implausible rate."""
        self._intake = Intake(sample_rate, target_rate)
        self.name, self.ended = name, False
        self.speed, self.lossless, self.live = speed, speed == 0.0, speed == 1.0
        self._rate = sample_rate
        self._descriptor, self._channels = descriptor, channels
        self._frame = 2 * channels
        self._least = self._frame * max(1, sample_rate // 10)
        self._most = self._least if self.lossless else MOST_BYTES
        self._rest = b""
        self._head: bytes | None = b""
        """What came first, until it was looked at."""

    def read(self, timeout: float) -> Chunk:
        """Samples that came. Raises AudioError where the pipe is empty, holds a file, or cannot be read."""
        try:
            ready, _, _ = select.select([self._descriptor], [], [], timeout)
            data = os.read(self._descriptor, self._most) if ready else None
        except (OSError, ValueError) as error:
            raise AudioError(f"{self.name} cannot be read ({error}); pipe raw samples into it") from error
        if data is None:
            return Chunk(NOTHING)
        self.ended = not data
        if self._head is not None:
            data = self._head = self._head + data
            if len(data) >= HEAD_BYTES or self.ended or begins_as(data):
                self._check(data)
            if len(data) < HEAD_BYTES and not self.ended:
                return Chunk(NOTHING)
            self._head = None
        elif not data:
            return Chunk(self._intake.flush())
        data = self._rest + data
        complete = len(data) // self._frame * self._frame
        self._rest = data[complete:]
        block = as_float(np.frombuffer(data[:complete], "<i2").reshape(-1, self._channels))
        samples = self._intake.push(block) if len(block) else NOTHING
        return Chunk(np.concatenate((samples, self._intake.flush())) if self.ended else samples)

    def _check(self, head: bytes) -> None:
        """Raises AudioError where the first bytes are none of raw samples."""
        if not head:
            raise AudioError(
                f"{self.name} is empty; pipe raw samples into it, as in: arecord -t raw -f S16_LE "
                "-r 16000 | edgecap listen --stdin --rate 16000"
            )
        if kind := kind_of(head):
            raise AudioError(
                f"{self.name} is {kind}, not raw samples; type: ffmpeg -i FILE -f s16le -ac 1 "
                f"-ar {self._rate} - | edgecap listen --stdin --rate {self._rate}, or edgecap listen --file FILE"
            )

    def wait_for_reader(self) -> bool:
        """Read no faster than captions are made: then the pipe is full, and its writer waits."""
        self.speed, self.lossless, self.live = 0.0, True, False
        self._most = self._least
        return True

    def close(self) -> None:
        """Nothing: the descriptor belongs to the caller."""
