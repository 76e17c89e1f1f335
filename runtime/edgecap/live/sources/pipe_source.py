"""Raw samples from a pipe: s16le, as `arecord -t raw` and `ffmpeg -f s16le` write them."""

from __future__ import annotations

import os
import select

import numpy as np

from edgecap.audio.samples import as_float
from edgecap.errors import AudioError
from edgecap.live.sources.source import NOTHING, Chunk, Intake

MOST_BYTES = 1 << 20
"""Read at once."""
CONTAINERS = {
    b"RIFF": "a WAV file",
    b"RF64": "a WAV file",
    b"FORM": "an AIFF file",
    b"fLaC": "a FLAC file",
    b"OggS": "an Ogg file",
    b"ID3": "an MP3 file",
    b".snd": "an AU file",
    b"caff": "a CAF file",
    b"\x1a\x45\xdf\xa3": "a Matroska or WebM file",
}
"""How files begin that are not raw samples."""
TEXT_BYTES = 32
"""Least that is taken for text if all of it is printable: raw samples are not, so many in a row."""


def container_of(data: bytes) -> str:
    """What the first bytes of a pipe are, where they are not raw samples; else an empty string."""
    for mark, kind in CONTAINERS.items():
        if data.startswith(mark):
            return kind
    if data[4:8] == b"ftyp":
        return "an MP4 file"
    if len(data) >= TEXT_BYTES and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in data[:4096]):
        return "text"
    return ""


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
        self.name, self.speed, self.lossless, self.ended = name, speed, speed == 0.0, False
        self._rate = sample_rate
        self._descriptor, self._channels = descriptor, channels
        self._frame = 2 * channels
        self._most = self._frame * max(1, sample_rate // 10) if self.lossless else MOST_BYTES
        self._rest = b""
        self._bytes = 0

    def read(self, timeout: float) -> Chunk:
        """Samples that came. Raises AudioError where the pipe is empty, holds a file, or cannot be read."""
        try:
            ready, _, _ = select.select([self._descriptor], [], [], timeout)
            data = os.read(self._descriptor, self._most) if ready else None
        except (OSError, ValueError) as error:
            raise AudioError(f"{self.name} cannot be read ({error}); pipe raw samples into it") from error
        if data is None:
            return Chunk(NOTHING)
        if not data:
            self.ended = True
            if self._bytes == 0:
                raise AudioError(
                    f"{self.name} is empty; pipe raw samples into it, as in: arecord -t raw -f S16_LE "
                    "-r 16000 | edgecap listen --stdin --rate 16000"
                )
            return Chunk(self._intake.flush())
        if self._bytes == 0 and (container := container_of(data)):
            raise AudioError(
                f"{self.name} is {container}, not raw samples; type: ffmpeg -i FILE -f s16le -ac 1 "
                f"-ar {self._rate} - | edgecap listen --stdin --rate {self._rate}, or edgecap listen --file FILE"
            )
        self._bytes += len(data)
        data = self._rest + data
        complete = len(data) // self._frame * self._frame
        self._rest = data[complete:]
        block = as_float(np.frombuffer(data[:complete], "<i2").reshape(-1, self._channels))
        return Chunk(self._intake.push(block) if len(block) else NOTHING)

    def close(self) -> None:
        """Nothing: the descriptor belongs to the caller."""
