"""FFmpeg as a decoder, for formats that libsndfile cannot read: AAC, MP4, WebM, WMA, FLAC in Ogg and many more.

It is used through PyAV (the extra `media`) where that is installed, else through the program ffmpeg on PATH. Only
containers of sound and video are accepted, so that a playlist cannot make it open other files or addresses.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgecap.audio.decoders.decoder import DecodeError, Decoder, with_channels
from edgecap.errors import reason_of
from edgecap.types import Waveform

CONTAINERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,loas,m4v,matroska,mov,mp3,mpc,mpc8,"
    "aea,g722,gsm,iff,ircam,nistsphere,mpeg,mpegts,nut,ogg,oma,qcp,rm,rso,shn,sox,spdif,tta,truehd,voc,w64,wav,webm,wsvqa,wv,xwma"
)
"""Names of FFmpeg's demuxers that are accepted; none of them follows references to other files."""
OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file,pipe"}
STATING = {"mov", "matroska", "asf", "flac", "wav", "wv", "tta", "caf", "w64"}
"""Demuxers whose duration is what the file states, and not an estimate from its bit rate."""
LOSS_SECONDS = 0.05
CLOSE_SECONDS = 5.0
_EXTENSIBLE_FLOAT = (3, 0xFFFE)


def media_available() -> bool:
    """Whether PyAV or ffmpeg is installed."""
    return find_spec("av") is not None or shutil.which("ffmpeg") is not None


def open_media(path: Path) -> Decoder:
    """A decoder of a file's first audio stream: PyAV's, else ffmpeg's, which may be of another version. Raises
    DecodeError.
    """
    if find_spec("av") is None:
        return FfmpegDecoder(path)
    try:
        return PyAvDecoder(path)
    except DecodeError:
        if shutil.which("ffmpeg") is None:
            raise
        return FfmpegDecoder(path)


class PyAvDecoder:
    """A `Decoder` of a file's first audio stream."""

    def __init__(self, path: Path) -> None:
        """Raises DecodeError."""
        import av

        self.promised: float | None = None  # a container's duration is an estimate
        self.tolerance = 0.0
        try:
            self._container: Any = av.open(str(path), options=dict(OPTIONS), metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            raise DecodeError(reason_of(error)) from error
        try:
            streams = self._container.streams.audio
            if not streams:
                raise DecodeError("it holds no sound")
            if streams[0].codec_context is None:
                raise DecodeError("its codec is not known")
            self._frames = self._decode(streams[0])
            self._rest = self._first()
        except BaseException:
            self._container.close()
            raise

    def read(self, frames: int) -> Waveform:
        """The next samples; those before a fault come first. Raises DecodeError."""
        import av

        parts, size = [self._rest], len(self._rest)
        try:
            while size < frames and (part := next(self._frames, None)) is not None:
                parts.append(part)
                size += len(part)
        except (av.FFmpegError, ValueError) as error:
            if size == 0:
                raise DecodeError(reason_of(error)) from error
            self._frames = _failing(reason_of(error))
        block = np.concatenate(parts)
        self._rest = block[frames:]
        return block[:frames]

    def close(self) -> None:
        """Close the container."""
        self._container.close()

    def _first(self) -> Waveform:
        """The first samples, whose rate and channels are those of all; a header may name others. Raises DecodeError."""
        import av

        try:
            block = next(self._frames, None)
        except (av.FFmpegError, ValueError) as error:
            raise DecodeError(reason_of(error)) from error
        if block is None:
            raise DecodeError("it holds no sound")
        return block

    def _decode(self, stream: Any) -> Iterator[Waveform]:  # noqa: ANN401 - PyAV's
        """All frames that can be decoded, damaged packets left out as ffmpeg does; then the first damage is raised."""
        import av

        damage: Exception | None = None
        decoded, inside = 0.0, False
        form: tuple[str, str, int] | None = None
        resampler: Any = None
        packets = self._container.demux(stream)
        ended = False
        while not ended:
            try:
                packet = next(packets, None)
                ended = packet is None
                frames = stream.codec_context.decode(None) if packet is None and damage else []
                frames = packet.decode() if packet is not None else frames
            except av.EOFError:
                continue  # the decoder was emptied already
            except (av.FFmpegError, ValueError) as error:
                damage = damage or error
                continue
            for frame in frames:
                if form != (form := (frame.format.name, frame.layout.name, frame.sample_rate)):
                    yield from self._flush(resampler)
                    if resampler is None:
                        self.sample_rate, self.channels = frame.sample_rate, frame.layout.nb_channels
                    # Packed: of a planar frame of 8 channels PyAV 18.1 reads a ninth plane, and the process ends.
                    resampler = av.AudioResampler(format="flt", rate=self.sample_rate)
                decoded += frame.samples / frame.sample_rate
                inside = inside or (damage is not None and not ended)
                yield from map(self._samples, resampler.resample(frame))
        yield from self._flush(resampler)
        if damage is not None and (inside or self._ends_early(decoded)):
            raise damage

    def _ends_early(self, seconds: float) -> bool:
        """Whether a container that states its duration promises more; tags behind the end are not sound."""
        states = not STATING.isdisjoint(self._container.format.name.split(","))
        duration = (self._container.duration or 0) / 1_000_000
        return seconds == 0 or (states and duration - seconds > LOSS_SECONDS)

    def _flush(self, resampler: Any) -> Iterator[Waveform]:  # noqa: ANN401
        """What a resampler still holds."""
        return iter(()) if resampler is None else map(self._samples, resampler.resample(None))

    def _samples(self, frame: Any) -> Waveform:  # noqa: ANN401
        return with_channels(frame.to_ndarray().reshape(-1, frame.layout.nb_channels), self.channels)


class FfmpegDecoder:
    """A `Decoder` that reads a wav of float samples, which ffmpeg writes into a pipe."""

    def __init__(self, path: Path) -> None:
        """Raises DecodeError."""
        self.promised: float | None = None
        self.tolerance = 0.0
        options = [word for key, value in OPTIONS.items() for word in (f"-{key}", value)]
        command = ["ffmpeg", "-nostdin", "-v", "error", *options, "-i", f"file:{path}"]
        command += ["-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]
        descriptors = [int(path.name)] if path.parent.name == "fd" and path.name.isdigit() else []
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the decoder; a pipe could fill up
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._errors, stdin=subprocess.DEVNULL, pass_fds=descriptors
        )
        try:
            self.channels, self.sample_rate = self._read_header()
        except BaseException:
            self.close()
            raise

    def read(self, frames: int) -> Waveform:
        """The next samples. Raises DecodeError where ffmpeg failed."""
        data = self._output.read(frames * self.channels * 4)
        if not data and self._process.wait() != 0:
            raise DecodeError(self._fault())
        complete = len(data) // (4 * self.channels) * 4 * self.channels
        return np.frombuffer(data[:complete], "<f4").reshape(-1, self.channels).astype(np.float32)

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

    def _fault(self) -> str:
        """The last line that ffmpeg wrote."""
        self._errors.seek(0)
        lines = self._errors.read(1 << 16).decode(errors="replace").strip().splitlines()
        return lines[-1].rpartition(": ")[2] if lines else ""

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


def _failing(reason: str) -> Iterator[Waveform]:
    """Nothing more, and then the reason."""
    raise DecodeError(reason)
    yield  # makes it a generator
