"""libsndfile as a decoder: wav, FLAC, Ogg Vorbis and Opus, mp3, AIFF, AU, CAF, W64.

Its guesses about lengths are not trusted: mp3 frames are counted (`mp3`), the links of a chained Ogg file are opened
one after the other, and a wav whose header says that it is empty is read to its end.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from edgecap.audio.decoders.containers import flac_head, ogg_links, opus_head, read_uncompressed
from edgecap.audio.decoders.decoder import Conformer, DecodeError
from edgecap.audio.decoders.mp3 import read_layout
from edgecap.audio.decoders.ranges import ByteRange, ByteReader, RangeFile
from edgecap.errors import MissingDependencyError
from edgecap.types import Waveform
from edgecap.util.stderr import silent_descriptor

UNKNOWN_FRAMES = 1 << 48
"""A header with more frames than this (9,000 years at 1 kHz) means that the length is unknown."""
DAMAGEABLE = ("FLAC", "OGG", "CAF")
"""Formats in which libsndfile may fail in the middle; its mp3 decoder continues after damage."""
MP3_TOLERANCE = 0.06
"""Seconds: an Info frame may count itself, and the encoder's delay and padding are cut off."""


class SndfileDecoder:
    """A `Decoder` of everything that libsndfile reads."""

    def __init__(self, path: Path) -> None:
        """Raises DecodeError, MissingDependencyError without libsndfile."""
        self.promised: float | None = None
        self.tolerance = 0.0
        self._fault: str | None = None
        self._waiting: list[Any] = []
        """Later links of a chained file, not opened yet."""
        reader = ByteReader(path)
        try:
            self._sound = self._open(path, reader)
        finally:
            reader.close()
        self.sample_rate: int = self._sound.samplerate
        self.channels: int = self._sound.channels
        self.format: str = self._sound.format
        """libsndfile's name of the container."""
        self._conformer: Conformer | None = None
        """Makes a later link like the first."""

    def read(self, frames: int) -> Waveform:
        """The next samples, across the links of a chained file. Raises DecodeError."""
        block = self._read(frames)
        while not len(block) and self._next_link():
            block = self._read(frames)
        return block

    def close(self) -> None:
        """Close the file and its later links."""
        self._sound.close()
        for source in self._waiting:
            source.close()

    def _open(self, path: Path, reader: ByteReader) -> Any:  # noqa: ANN401 - soundfile has no types
        head = reader.at(0, 12)
        if head[:4] == b"OggS":
            return self._open_links(path, reader)
        if head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0"):
            sound = self._open_mp3(path, reader)
            if sound is not None:
                return sound
        if head[:5] == b"fLaC\0":
            start, self.promised = flac_head(reader)
            return open_sound(RangeFile(path, start, [ByteRange(len(start), reader.size - len(start))]))
        header = read_uncompressed(reader)
        if header is not None and header.head is not None:
            return open_sound(RangeFile(path, header.head, [ByteRange(header.start, header.present)]))
        sound = open_sound(path)
        if sound.format == "MP3" and (counted := self._open_mp3(path, reader)) is not None:  # behind rubbish
            sound.close()
            return counted
        if header is not None and sound.frames < UNKNOWN_FRAMES:
            self.promised = sound.frames / sound.samplerate
            if header.promised is not None and header.promised > header.present > 0:
                self.promised *= header.promised / header.present
        elif sound.format != "MP3" and sound.frames < UNKNOWN_FRAMES:
            self.promised = sound.frames / sound.samplerate
        return sound

    def _open_mp3(self, path: Path, reader: ByteReader) -> Any:  # noqa: ANN401
        layout = read_layout(reader)
        if layout is None:
            return None
        sound = open_sound(path)
        frame = layout.first.samples / layout.first.rate
        self.tolerance = MP3_TOLERANCE + frame
        self.promised = max(layout.count, layout.declared or 0) * frame
        trusted = layout.declared is not None and abs(layout.declared - layout.count) <= 1
        if len(layout.ranges) == 1 and (trusted or abs(sound.frames / sound.samplerate - layout.seconds) <= frame):
            if trusted:  # its encoder's delay is cut off, which the count of frames does not know
                self.promised = min(self.promised, sound.frames / sound.samplerate)
            return sound
        sound.close()
        return open_sound(RangeFile(path, layout.info_frame(), layout.ranges))

    def _open_links(self, path: Path, reader: ByteReader) -> Any:  # noqa: ANN401
        sources: list[RangeFile | Path] = []
        links = ogg_links(reader)
        for link in links:
            head = opus_head(reader, link)
            if head is not None:
                rest = ByteRange(link.start + len(head), link.size - len(head))
                sources.append(RangeFile(path, head, [rest]))
            else:
                sources.append(path if len(links) == 1 else RangeFile(path, b"", [link]))
        self._waiting = sources[1:]
        sound = open_sound(sources[0])
        if len(links) == 1 and sound.frames < UNKNOWN_FRAMES:
            self.promised = sound.frames / sound.samplerate
        return sound

    def _next_link(self) -> bool:
        """Open the next link of a chained file; whether there was one."""
        if not self._waiting:
            return False
        self._sound.close()
        self._sound = open_sound(self._waiting.pop(0))
        self._conformer = Conformer(self._sound.samplerate, self.sample_rate, self.channels)
        return True

    def _read(self, frames: int) -> Waveform:
        import soundfile

        if self._fault is not None:
            raise DecodeError(self._fault)
        block: Waveform | None = None
        if self._sound.format in DAMAGEABLE:
            block = np.full((frames, self._sound.channels), np.nan, np.float32)
        try:
            with silent_descriptor() if self._sound.format == "MP3" else nullcontext():
                block = self._sound.read(frames, dtype="float32", always_2d=True, out=block)
        except soundfile.SoundFileError as error:
            # the array holds what was decoded before the damage, which is returned first
            self._fault = str(getattr(error, "error_string", ""))
            good = 0 if block is None else int((~np.isnan(block[:, 0])).sum())
            if block is None or not good:
                raise DecodeError(self._fault) from error
            block = block[:good]
        assert block is not None
        return block if self._conformer is None else self._conformer.push(block)


def open_sound(source: Path | RangeFile) -> Any:  # noqa: ANN401
    """A `soundfile.SoundFile` that reads without seeking. Raises DecodeError, MissingDependencyError.

    After each read, python-soundfile 0.14 seeks in files that allow it, to keep a position for writing. In a FLAC of
    unknown length that fails, and elsewhere it costs time.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            "reading sound files needs libsndfile, which was not found; type: sudo apt install libsndfile1"
        ) from error

    class Straight(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
        def seekable(self) -> bool:
            return False

    try:
        with silent_descriptor():  # the mp3 decoder writes there
            return Straight(os.fsencode(source) if isinstance(source, Path) else source)
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        # libsndfile says "not a regular file" of anything called .mp3 that it cannot read
        reason = "" if "regular file" in str(error) else getattr(error, "error_string", "")
        raise DecodeError(reason) from error
