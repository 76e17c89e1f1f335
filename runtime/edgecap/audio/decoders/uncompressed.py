"""The headers of wav, RF64, W64, AIFF, CAF and AU files, which libsndfile believes too readily."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from edgecap.audio.decoders.ranges import ByteRange, ByteReader

_STREAMED_SIZES = (0x7F00_0000 + 64, 1 << 31, 1 << 32)
"""Programs that do not know a size (ffmpeg, arecord; sox the first) write one that is at most so large, ..."""
_STREAMED_MARGIN = 1 << 12
"""... and hardly smaller."""
_UNKNOWN = 1 << 48
"""A 64-bit size above this is a placeholder too."""
WAV_MP3 = 0x55
"""Format tag of a wav that holds an mp3."""


@dataclass(frozen=True)
class Uncompressed:
    """What a header promises about the samples, and what is there."""

    start: int
    """Where the samples begin."""
    promised: int | None
    """Bytes of samples; None where the header does not say."""
    present: int
    """Bytes that are there, whatever they are."""
    head: bytes | None
    """What has to stand before the samples instead, for a header that says that there are none; else None."""
    tag: int
    """A wav's format tag; 0 elsewhere."""


class _Form(NamedTuple):
    """How a container writes its chunks."""

    data: bytes
    """Name of the chunk that holds the samples."""
    size: str
    """Format of a chunk's size."""
    first: int = 12
    """Where the first chunk begins."""
    lead: int = 0
    """Bytes of the chunk before its samples."""
    align: int = 2
    counted: int = 0
    """Bytes of its own name and size that a chunk's size includes."""


_FORMS = {
    b"RIFF": _Form(b"data", "<I"),
    b"RIFX": _Form(b"data", ">I"),
    b"RF64": _Form(b"data", "<I"),
    b"BW64": _Form(b"data", "<I"),
    b"FORM": _Form(b"SSND", ">I", lead=8),
    b"caff": _Form(b"data", ">Q", first=8, lead=4, align=1),
    b"riff": _Form(bytes.fromhex("64617461f3acd3118cd100c04f8edb8a"), "<Q", first=40, align=8, counted=24),
}
"""By the first four bytes of a file; the last is W64, whose names are GUIDs."""
_WIDE = (b"RF64", b"BW64")
"""Their sizes stand in the first chunk, `ds64`: 8 bytes for the file, 8 for the samples."""


def read_uncompressed(reader: ByteReader) -> Uncompressed | None:
    """What the header of a wav, RF64, W64, AIFF, CAF or AU promises; None for another file, or one without samples."""
    magic = reader.at(0, 4)
    if magic == b".snd":
        return _read_au(reader)
    form = _FORMS.get(magic)
    return None if form is None else _read_chunks(reader, magic, form)


def has_no_samples(reader: ByteReader) -> bool:
    """Whether this is a wav whose chunks, by the sizes that they say, lead to none with samples."""
    return reader.at(0, 4) == b"RIFF" and reader.at(8, 4) == b"WAVE" and read_uncompressed(reader) is None


def riff_links(reader: ByteReader) -> list[ByteRange]:
    """The wavs of a file that was made by joining some; one for a wav that is alone."""
    links: list[ByteRange] = []
    place = 0
    while (head := reader.at(place, 12))[:4] == b"RIFF" and head[8:12] == b"WAVE":
        size = 8 + int(struct.unpack("<I", head[4:8])[0])
        links.append(ByteRange(place, min(size, reader.size - place)))
        place += size
    return links


def _read_chunks(reader: ByteReader, magic: bytes, form: _Form) -> Uncompressed | None:
    width = struct.calcsize(form.size)
    header, place, tag = len(form.data) + width, form.first, 0
    while len(chunk := reader.at(place, header)) == header:
        size = int(struct.unpack(form.size, chunk[-width:])[0]) - form.counted
        start = place + header
        if chunk[:-width] == form.data:
            if magic in _WIDE and size == 0xFFFF_FFFF:
                size = int.from_bytes(reader.at(28, 8), "little")
            samples, present = size - form.lead, reader.size - start - form.lead
            if samples <= 0 < present and not _chunks_end_at(reader, start + max(size, 0), form):
                return Uncompressed(start + form.lead, None, present, _with_sizes(reader, magic, form, place), tag)
            if magic == b"caff" and samples > present > 0:  # which libsndfile does not open
                head = _with_sizes(reader, magic, form, place)
                return Uncompressed(start + form.lead, None if size >= _UNKNOWN else samples, present, head, tag)
            streamed = size >= _UNKNOWN if width == 8 or magic in _WIDE else _is_streamed(size)
            return Uncompressed(start + form.lead, None if streamed else max(samples, 0), max(present, 0), None, tag)
        if chunk[:4] == b"fmt ":
            tag = int.from_bytes(reader.at(start, 2), "little")
        if size < 0:
            return None
        place = start + size + -size % form.align
    return None


def _read_au(reader: ByteReader) -> Uncompressed | None:
    head = reader.at(0, 24)
    if len(head) < 24:
        return None
    start, size = (int(value) for value in struct.unpack(">II", head[4:12]))
    present = max(0, reader.size - start)
    # nothing can follow the samples, so all that is there is sound; the largest size means that it is unknown
    corrected = head[:8] + b"\xff" * 4 + reader.at(12, max(0, start - 12)) if size != present else None
    promised = None if size == 0 or _is_streamed(size) else max(size, present)
    return Uncompressed(start, promised, present, corrected, 0)


def _is_streamed(size: int) -> bool:
    return any(0 <= limit - size <= _STREAMED_MARGIN for limit in _STREAMED_SIZES)


def _chunks_end_at(reader: ByteReader, place: int, form: _Form) -> bool:
    """Whether well-formed chunks follow up to the end, as behind samples that there really are none of."""
    width = struct.calcsize(form.size)
    header = len(form.data) + width
    while len(chunk := reader.at(place, header)) == header and chunk[:4].isalnum():
        size = int(struct.unpack(form.size, chunk[-width:])[0]) - form.counted
        if size < 0:
            return False
        place += header + size + -size % form.align
    return place in (reader.size, reader.size + 1)


def _with_sizes(reader: ByteReader, magic: bytes, form: _Form, place: int) -> bytes:
    """The header of a file whose recorder lost power, up to the samples: with the sizes that the file has."""
    width = struct.calcsize(form.size)
    start = place + len(form.data) + width
    head = bytearray(reader.at(0, start + form.lead))
    most = 256**width - 1
    file, data = reader.size - 8, reader.size - start
    if magic in _WIDE:
        head[20:36] = struct.pack("<QQ", file, data)
        data = most
    elif magic != b"caff":  # which has no size of its own
        head[4 : 4 + width] = struct.pack(form.size, min(file, most))
    head[start - width : start] = struct.pack(form.size, min(data, most))
    return bytes(head)
