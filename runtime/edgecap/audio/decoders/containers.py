"""What the first bytes of a file are, and the headers of wav, AIFF, AU and Ogg that libsndfile believes too readily."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from edgecap.audio.decoders.ranges import ByteRange, ByteReader

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_STREAMED_MARGIN = 1 << 12
"""Programs that do not know a size (ffmpeg, sox, arecord) write one that is about so far below 2 or 4 GiB."""
_ID_LENGTH = 8


@dataclass(frozen=True)
class Uncompressed:
    """What a wav's, AIFF's or AU's header promises about its samples."""

    promised: int | None
    """Bytes of samples; None where the header does not say."""
    present: int
    """Bytes that are there."""
    head: bytes | None = None
    """A corrected header, for one that says that there are none; `start` is where its samples begin."""
    start: int = 0


def _is_streamed(size: int) -> bool:
    return any(0 <= limit - size <= _STREAMED_MARGIN for limit in (1 << 31, 1 << 32))


def codec_of(reader: ByteReader) -> str:
    """A name for what the first bytes are, for messages: "AAC in MP4"; empty where it is not known."""
    head = reader.at(0, 64)
    if head[4:8] == b"ftyp":
        return "an MP4 file (AAC or the like)"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "a WebM or Matroska file"
    if head[:4] == b"OggS" and b"\x7fFLAC" in head:
        return "FLAC in an Ogg file"
    if head[:2] in (b"\xff\xf1", b"\xff\xf9"):
        return "AAC"
    names = {
        b"#!AMR": "AMR",
        b"\x30\x26\xb2\x75": "a Windows Media file",
        b"wvpk": "WavPack",
        b"MAC ": "Monkey's Audio",
        b"FLV": "a Flash video",
        b"caff": "a CAF file",
        b"MThd": "MIDI, which contains notes, not sound",
    }
    return next((name for magic, name in names.items() if head.startswith(magic)), "")


def is_lfs_pointer(reader: ByteReader) -> bool:
    """Whether this is what git keeps in place of a large file."""
    return reader.at(0, len(LFS_POINTER)) == LFS_POINTER


def read_uncompressed(reader: ByteReader) -> Uncompressed | None:
    """What the header of a wav, AIFF or AU promises; None for another file, or a header without samples."""
    head = reader.at(0, 24)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return _read_chunks(reader, "<", b"data")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _read_chunks(reader, ">", b"SSND")
    if head[:4] == b".snd" and len(head) == 24:
        start, size = struct.unpack(">II", head[4:12])
        return Uncompressed(None if _is_streamed(size) else size, max(0, reader.size - start))
    return None


def ogg_links(reader: ByteReader) -> list[ByteRange]:
    """The links of a chained Ogg file, each a complete Ogg file; one for a file that is not chained.

    A link begins with the pages that begin its streams (RFC 3533, header type 2), a chained one behind other pages.
    """
    starts: list[int] = []
    place, opening = 0, False
    while (header := reader.at(place, 27))[:4] == b"OggS" and len(header) == 27:
        begins = bool(header[5] & 2)
        if begins and not opening:
            starts.append(place)
        opening = begins
        sizes = reader.at(place + 27, header[26])
        place += 27 + header[26] + sum(sizes)
        if place < reader.size and reader.at(place, 4) != b"OggS":
            place = reader.find(b"OggS", place)
            if place < 0:
                break
    starts = starts or [0]
    ends = [*starts[1:], reader.size]
    return [ByteRange(start, end - start) for start, end in zip(starts, ends, strict=True)]


def flac_head(reader: ByteReader) -> tuple[bytes, float | None]:
    """The beginning of a FLAC file with its number of samples made unknown, and the seconds that it declared.

    libsndfile reads no further than that number, which is wrong in a file that was appended to. It is the last 36 bits
    of bytes 10 to 17 of the STREAMINFO block (RFC 9639, section 8.2); 0 means unknown.
    """
    head = bytearray(reader.at(0, 26))
    fields = int.from_bytes(head[18:26], "big")
    rate, samples = fields >> 44, fields & (1 << 36) - 1
    head[18:26] = (fields - samples).to_bytes(8, "big")
    return bytes(head), samples / rate if samples and rate else None


def opus_head(reader: ByteReader, link: ByteRange) -> bytes | None:
    """A corrected first page of an Opus link whose "input sample rate" is 0; None where nothing has to be corrected.

    0 means "unspecified" (RFC 7845, section 5.1), and libsndfile 1.2.2 takes it for 8 kHz, which drops everything above
    4 kHz. So 48 kHz, the rate that Opus decodes at, is written in its place.
    """
    header = reader.at(link.start, 27)
    size = 27 + header[26] + sum(reader.at(link.start + 27, header[26])) if len(header) == 27 else 0
    page = bytearray(reader.at(link.start, size))
    body = page.find(b"OpusHead")
    rate = slice(body + 12, body + 16)
    if body < 0 or bytes(page[rate]) != bytes(4):
        return None
    page[rate] = struct.pack("<I", 48_000)
    page[22:26] = bytes(4)
    page[22:26] = struct.pack("<I", ogg_crc(page))
    return bytes(page)


def ogg_crc(page: bytes | bytearray) -> int:
    """Checksum of an Ogg page whose own field is 0: CRC-32, polynomial 0x04C11DB7, not reflected (RFC 3533)."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 1 << 31 else crc << 1) & 0xFFFFFFFF
    return crc


def _read_chunks(reader: ByteReader, order: str, wanted: bytes) -> Uncompressed | None:
    place = 12
    while len(chunk := reader.at(place, _ID_LENGTH)) == _ID_LENGTH:
        size = int(struct.unpack(order + "I", chunk[4:])[0])
        start = place + _ID_LENGTH
        if chunk[:4] == wanted:
            present = reader.size - start
            if wanted == b"data" and size == 0 and present > 0 and not _chunks_end_at(reader, start):
                return Uncompressed(None, present, _with_sizes(reader, place), start)
            return Uncompressed(None if _is_streamed(size) else size, present)
        place = start + size + (size & 1)
    return None


def _chunks_end_at(reader: ByteReader, place: int) -> bool:
    """Whether well-formed chunks follow up to the end, as behind samples that there really are none of."""
    while len(chunk := reader.at(place, _ID_LENGTH)) == _ID_LENGTH and chunk[:4].isalnum():
        size = int(struct.unpack("<I", chunk[4:])[0])
        place += _ID_LENGTH + size + (size & 1)
    return place in (reader.size, reader.size + 1)


def _with_sizes(reader: ByteReader, place: int) -> bytes:
    """The header of a wav whose recorder lost power: with the sizes that the file has."""
    most = 0xFFFFFFFF
    start = place + _ID_LENGTH
    head = bytearray(reader.at(0, start))
    head[4:8] = struct.pack("<I", min(reader.size - _ID_LENGTH, most))
    head[place + 4 : start] = struct.pack("<I", min(reader.size - start, most))
    return bytes(head)
