"""FFmpeg through the program ffmpeg."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import IO

import numpy as np

from edgecap.audio.decoders.decoder import DecodeError
from edgecap.audio.decoders.ffmpeg_options import OPTIONS, PACKET_SECONDS, ends_early, promised_seconds
from edgecap.errors import reason_of
from edgecap.types import Waveform

CLOSE_SECONDS = 5.0
MOST_LINES = 1 << 20
"""Bytes of ffmpeg's messages that are read."""
_EXTENSIBLE_FLOAT = (3, 0xFFFE)


class FfmpegDecoder:
    """A `Decoder` that reads a wav of float samples, which ffmpeg writes into a pipe."""

    def __init__(self, path: Path) -> None:
        """Raises DecodeError."""
        self.tolerance = PACKET_SECONDS
        options = [word for key, value in OPTIONS.items() for word in (f"-{key}", value)]
        command = ["ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-v", "level+info", *options, "-i", f"file:{path}"]
        command += ["-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]
        descriptors = [int(path.name)] if path.parent.name == "fd" and path.name.isdigit() else []
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the decoder; a pipe could fill up
        try:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=self._errors, stdin=subprocess.DEVNULL, pass_fds=descriptors
            )
        except OSError as error:
            self._errors.close()
            raise DecodeError(f"ffmpeg cannot be run: {reason_of(error)}") from error
        try:
            self.channels, self.sample_rate = self._read_header()
            self._name, streams, self._start, self._duration = self._read_description()
            self.promised = promised_seconds(self._name, streams, self._start, self._duration)
            self._frames = 0
        except BaseException:
            self.close()
            raise

    def read(self, frames: int) -> Waveform:
        """The next samples. Raises DecodeError where ffmpeg failed."""
        data = self._output.read(frames * self.channels * 4)
        count = len(data) // (4 * self.channels)
        self._frames += count
        if not count:
            fault, seconds = self._fault(), self._frames / self.sample_rate
            if self._process.wait() or (fault and ends_early(self._name, self._start, self._duration, seconds)):
                raise DecodeError(fault)
        return np.frombuffer(data, "<f4", count * self.channels).reshape(count, self.channels).astype(np.float32)

    def close(self) -> None:
        """End ffmpeg and close its pipe."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(CLOSE_SECONDS)
        self._output.close()
        self._errors.close()

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _lines(self) -> list[str]:
        """The last that ffmpeg wrote."""
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - MOST_LINES))
        return self._errors.read(MOST_LINES).decode(errors="replace").splitlines()

    def _fault(self) -> str:
        """The last error; empty where there is none."""
        lines = [line for line in self._lines() if "[error] " in line or "[fatal] " in line]
        if any("matches no streams" in line for line in lines):
            return "it holds no sound"
        return lines[-1].rpartition("] ")[2].rpartition(": ")[2] if lines else ""

    def _read_description(self) -> tuple[str, int, float, float]:
        """Of the input: the demuxer, the number of streams, and the seconds of its start and its end, 0 if unknown."""
        text = "\n".join(self._lines()).partition("Stream mapping:")[0]
        name = re.search(r"Input #0, (\S+), from ", text)
        start = re.search(r"Duration: .*, start: (-?[\d.]+)", text)
        end = re.search(r"Duration: (\d+):(\d+):([\d.]+)", text)
        hours, minutes, seconds = map(float, end.groups()) if end else (0.0, 0.0, 0.0)
        duration = hours * 3600 + minutes * 60 + seconds
        return name[1] if name else "", text.count(" Stream #0:"), float(start[1]) if start else 0.0, duration

    def _read_header(self) -> tuple[int, int]:
        """Channels and sample rate of the wav, read up to its samples."""
        if self._output.read(12)[:4] != b"RIFF":
            self._process.wait()
            raise DecodeError(self._fault() or "it holds no sound")
        channels = rate = 0
        while len(chunk := self._output.read(8)) == 8:
            size = struct.unpack("<I", chunk[4:])[0]
            if chunk[:4] == b"data":
                break
            body = self._output.read(size + (size & 1))
            if chunk[:4] == b"fmt ":
                kind, channels, rate = struct.unpack("<HHI", body[:8])
                if kind not in _EXTENSIBLE_FLOAT:
                    raise DecodeError(f"ffmpeg wrote samples of type {kind}")
        if not channels or not rate:
            raise DecodeError("it holds no sound")
        return channels, rate
