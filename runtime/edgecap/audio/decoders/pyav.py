"""FFmpeg through PyAV."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgecap.audio.decoders.decoder import DecodeError, with_channels
from edgecap.audio.decoders.ffmpeg_options import OPTIONS, PACKET_SECONDS, ends_early, promised_seconds
from edgecap.errors import reason_of
from edgecap.types import Waveform

_FLAC_SYNC = 0xFF


class PyAvDecoder:
    """A `Decoder` of a file's first audio stream."""

    def __init__(self, path: Path) -> None:
        """Raises DecodeError."""
        try:
            import av
        except (ImportError, OSError) as error:  # installed for another Python or system
            raise DecodeError(f"PyAV cannot be loaded: {reason_of(error)}") from error

        self.tolerance = PACKET_SECONDS
        try:
            self._container: Any = av.open(str(path), options=dict(OPTIONS), metadata_errors="replace")
        except ValueError as error:  # no container that is accepted, which FFmpeg calls an invalid argument
            raise DecodeError("" if getattr(error, "errno", 0) == errno.EINVAL else reason_of(error)) from error
        except av.FFmpegError as error:
            raise DecodeError(reason_of(error)) from error
        try:
            streams = self._container.streams.audio
            if not streams:
                raise DecodeError("it holds no sound")
            if streams[0].codec_context is None:
                raise DecodeError("its codec is not known")
            self._name: str = self._container.format.name
            self._start = float((streams[0].start_time or 0) * (streams[0].time_base or 0))
            self._duration = (self._container.duration or 0) / 1_000_000
            self.promised = promised_seconds(self._name, len(self._container.streams), self._start, self._duration)
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
                if packet is not None and not _is_flac_header(packet):
                    frames = packet.decode()
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
                    # Packed: PyAV 18.1 ended the process with planar frames of some layouts.
                    resampler = av.AudioResampler(format="flt", rate=self.sample_rate)
                decoded += frame.samples / frame.sample_rate
                inside = inside or (damage is not None and not ended)
                yield from map(self._samples, resampler.resample(frame))
        yield from self._flush(resampler)
        if damage is not None and (inside or ends_early(self._name, self._start, self._duration, decoded)):
            raise damage

    def _flush(self, resampler: Any) -> Iterator[Waveform]:  # noqa: ANN401
        """What a resampler still holds."""
        return iter(()) if resampler is None else map(self._samples, resampler.resample(None))

    def _samples(self, frame: Any) -> Waveform:  # noqa: ANN401
        return with_channels(frame.to_ndarray().reshape(-1, frame.layout.nb_channels), self.channels)


def _is_flac_header(packet: Any) -> bool:  # noqa: ANN401
    """Whether a packet of FLAC in Ogg begins another link of a chained file, and is no damage."""
    stream = packet.stream
    return bool(
        packet.size
        and stream.codec_context.name == "flac"
        and stream.container.format.name == "ogg"
        and bytes(packet)[0] != _FLAC_SYNC
    )


def _failing(reason: str) -> Iterator[Waveform]:
    """Nothing more, and then the reason."""
    raise DecodeError(reason)
    yield  # makes it a generator
