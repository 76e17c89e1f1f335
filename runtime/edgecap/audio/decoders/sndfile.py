"""libsndfile as a decoder: wav, FLAC, Ogg Vorbis and Opus, mp3, AIFF, AU, CAF, W64.

Its guesses about lengths are not trusted: mp3 frames are counted (`mp3`), files that were joined are opened one after
the other, and a file whose header says that it is empty is read to its end (`uncompressed`).
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgecap.audio.decoders.containers import (
    FLAC_BUFFER,
    FLAC_START,
    flac_ends_as_declared,
    flac_head,
    flac_links,
    ogg_links,
    opus_head,
)
from edgecap.audio.decoders.decoder import Conformer, DecodeError
from edgecap.audio.decoders.mp3 import EMPTY_TAG, after_tags, read_layouts
from edgecap.audio.decoders.ranges import ByteRange, ByteReader, RangeFile
from edgecap.audio.decoders.uncompressed import WAV_MP3, Uncompressed, read_uncompressed, riff_links
from edgecap.errors import MissingDependencyError, reason_of
from edgecap.types import Waveform
from edgecap.util.stderr import silent_descriptor

UNKNOWN_FRAMES = 1 << 48
"""A header with more frames than this (9,000 years at 1 kHz) means that the length is unknown."""
DAMAGEABLE = ("FLAC", "OGG", "CAF")
"""Formats in which libsndfile may fail in the middle; its mp3 decoder continues after damage."""
INT16_STEP = np.float32(2.0**-15)
MP3_TOLERANCE = 0.06
"""Seconds: an Info frame may count itself, and the encoder's delay and padding are cut off."""


class _Part(NamedTuple):
    """A complete file within a file that was made by joining some."""

    head: bytes
    """A corrected beginning."""
    ranges: tuple[ByteRange, ...]
    """What follows it."""


class SndfileDecoder:
    """A `Decoder` of everything that libsndfile reads."""

    def __init__(self, path: Path) -> None:
        """Raises DecodeError, MissingDependencyError without libsndfile."""
        self.promised: float | None = None
        self.tolerance = 0.0
        self._fault: str | None = None
        self._path = path
        self._waiting: list[_Part] = []
        """What a joined file still holds, not opened yet."""
        self._source: RangeFile | None = None
        """What libsndfile reads instead of the file."""
        self._descriptor: int | None = None
        """That of a FLAC which others may follow."""
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
        """Makes a later part like the first."""

    def read(self, frames: int) -> Waveform:
        """The next samples, across the parts of a joined file. Raises DecodeError."""
        try:
            block = self._read(frames)
        except DecodeError:
            if not self._find_links():
                raise
            block = np.empty((0, self.channels), np.float32)
        while not len(block) and ((self._waiting or self._find_links()) and self._next_link()):
            block = self._read(frames)
        return block

    def close(self) -> None:
        """Close the file."""
        self._sound.close()
        if self._source is not None:
            self._source.close()

    def _open(self, path: Path, reader: ByteReader) -> Any:  # noqa: ANN401 - soundfile has no types
        head = reader.at(0, 4)
        if head == b"OggS":
            return self._open_links(path, reader)
        start = after_tags(reader, 0)
        if reader.at(start, len(FLAC_START)) == FLAC_START:
            return self._open_flac(path, reader, start)
        if head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0"):
            sound = self._open_mp3(path, reader)
            if sound is not None:
                return sound
        if (header := read_uncompressed(reader)) is not None:
            return self._open_uncompressed(path, reader, header)
        sound = open_sound(path)
        if sound.format == "MP3" and (counted := self._open_mp3(path, reader)) is not None:  # behind rubbish
            sound.close()
            return counted
        if sound.format != "MP3" and sound.frames < UNKNOWN_FRAMES:
            self.promised = sound.frames / sound.samplerate
        return sound

    def _open_uncompressed(self, path: Path, reader: ByteReader, header: Uncompressed) -> Any:  # noqa: ANN401
        if header.tag == WAV_MP3 and (sound := self._open_mp3(path, reader, header.start)) is not None:
            return sound
        if header.head is not None:
            sound = self._open_part(_Part(header.head, (ByteRange(header.start, header.present),)))
        elif len(links := riff_links(reader)) > 1:
            return self._open_all([_Part(b"", (link,)) for link in links])
        else:
            sound = open_sound(path)
        if header.promised is not None and sound.frames < UNKNOWN_FRAMES:
            self.promised = sound.frames / sound.samplerate
            if header.promised > header.present > 0:
                self.promised *= header.promised / header.present
        return sound

    def _open_flac(self, path: Path, reader: ByteReader, start: int) -> Any:  # noqa: ANN401
        if start == 0 and flac_ends_as_declared(reader):
            self.promised = flac_head(reader, 0)[1]
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            return open_sound(self._descriptor)  # which closes it, whether it can be opened or not
        self.promised = 0.0
        return self._open_all(self._flac_parts(reader, flac_links(reader, start)))

    def _flac_parts(self, reader: ByteReader, links: list[ByteRange]) -> list[_Part]:
        """Parts for FLAC streams; adds what they promise."""
        parts = []
        for link in links:
            head, seconds = flac_head(reader, link.start)
            parts.append(_Part(head, (link.behind(len(head)),)))
            self.promised = None if self.promised is None or seconds is None else self.promised + seconds
        return parts

    def _find_links(self) -> bool:
        """Look for FLAC streams behind the one that was read; whether there are any."""
        if self._descriptor is None:
            return False
        place = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        self._descriptor = None
        try:
            reader = ByteReader(self._path)
        except OSError:  # it was deleted meanwhile
            return False
        try:
            self._waiting = self._flac_parts(reader, flac_links(reader, max(0, place - FLAC_BUFFER))[1:])
        finally:
            reader.close()
        return bool(self._waiting)

    def _open_mp3(self, path: Path, reader: ByteReader, start: int = 0) -> Any:  # noqa: ANN401
        layouts = read_layouts(reader, start)
        if not layouts:
            return None
        frame = layouts[0].first.samples / layouts[0].first.rate
        self.tolerance = MP3_TOLERANCE * len(layouts) + frame
        self.promised = sum(layout.promised for layout in layouts)
        if len(layouts) == 1 and len(layouts[0].ranges) == 1 and not start:
            layout = layouts[0]
            try:
                sound = open_sound(path)
            except DecodeError:  # because of a file beside it
                sound = self._open_part(_Part(EMPTY_TAG, (ByteRange(0, reader.size),)))
            trusted = layout.declared is not None and abs(layout.declared - layout.count) <= 1
            if trusted:  # its encoder's delay is cut off, which the count of frames does not know
                self.promised = min(self.promised, sound.frames / sound.samplerate)
            if trusted or abs(sound.frames / sound.samplerate - layout.seconds) <= frame:
                return sound
            sound.close()
        return self._open_all([_Part(layout.head(), layout.ranges) for layout in layouts])

    def _open_links(self, path: Path, reader: ByteReader) -> Any:  # noqa: ANN401
        links = ogg_links(reader)
        heads = [opus_head(reader, link) or b"" for link in links]
        if len(links) > 1 or heads[0]:
            parts = [_Part(head, (link.behind(len(head)),)) for head, link in zip(heads, links, strict=True)]
            sound = self._open_all(parts)
        else:
            sound = open_sound(path)
        if len(links) == 1 and sound.frames < UNKNOWN_FRAMES:
            self.promised = sound.frames / sound.samplerate
        return sound

    def _open_all(self, parts: list[_Part]) -> Any:  # noqa: ANN401
        """The first of several that are heard one after the other."""
        self._waiting = parts[1:]
        return self._open_part(parts[0])

    def _open_part(self, part: _Part) -> Any:  # noqa: ANN401
        self._source = RangeFile(self._path, part.head, part.ranges)
        return open_sound(self._source)

    def _next_link(self) -> bool:
        """Open the next part of a joined file; whether there was one."""
        self.close()
        self._fault = None
        try:
            self._sound = self._open_part(self._waiting.pop(0))
        except OSError as error:
            raise DecodeError(reason_of(error)) from error
        self._conformer = Conformer(self._sound.samplerate, self.sample_rate, self.channels)
        return True

    def _read(self, frames: int) -> Waveform:
        import soundfile

        if self._fault is not None:
            raise DecodeError(self._fault)
        sound = self._sound
        # libsndfile converts to float sample by sample, which takes twice as long
        integers = self.format not in DAMAGEABLE and sound.subtype == "PCM_16"
        block = np.empty((frames, sound.channels), np.int16 if integers else np.float32)
        if self.format in DAMAGEABLE:
            block.fill(np.nan)
        try:
            if self.format == "MP3":
                with silent_descriptor():
                    block = sound.read(out=block)
            else:
                block = sound.read(out=block)
        except soundfile.SoundFileError as error:
            # the array holds what was decoded before the damage, which is returned first
            self._fault = str(getattr(error, "error_string", ""))
            good = int((~np.isnan(block[:, 0])).sum()) if self.format in DAMAGEABLE else 0
            if not good:
                raise DecodeError(self._fault) from error
            block = block[:good]
        if integers:
            block = block * INT16_STEP
        return block if self._conformer is None else self._conformer.push(block)


def open_sound(source: Path | int | RangeFile) -> Any:  # noqa: ANN401
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

    try:
        with silent_descriptor():  # the mp3 decoder writes there
            return _straight()(os.fsencode(source) if isinstance(source, Path) else source)
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        # libsndfile says "not a regular file" of anything called .mp3 that it cannot read
        reason = "" if "regular file" in str(error) else getattr(error, "error_string", "")
        raise DecodeError(reason) from error


@cache
def _straight() -> Any:  # noqa: ANN401
    import soundfile

    class Straight(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
        def seekable(self) -> bool:
            return False

    return Straight
