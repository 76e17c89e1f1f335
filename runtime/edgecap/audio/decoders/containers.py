"""What the first bytes of a file are, and the headers of Ogg and FLAC that libsndfile believes too readily."""

from __future__ import annotations

import struct

from edgecap.audio.decoders.ranges import ByteRange, ByteReader

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
FLAC_START = b"fLaC\0\0\0\x22"
"""How a FLAC stream begins: its name, and the head of its first block, which has 34 bytes."""

FLAC_BUFFER = 1 << 14
"""libFLAC reads at most so far ahead."""
_FLAC_TAIL = 1 << 16
"""The last frame begins in so many bytes, or the file is read with more care."""
_FLAC_SYNC = 0xFF


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
    }
    return next((name for magic, name in names.items() if head.startswith(magic)), "")


def advice_for(reader: ByteReader) -> str:
    """What a file is that is no sound, and what to do: "a zip archive; unpack it"; empty where it is not known."""
    head = reader.at(0, 64)
    if head.startswith(LFS_POINTER):
        return "a Git LFS pointer, not the sound itself; type: git lfs pull"
    if head.startswith(b"MThd"):
        return "MIDI, which holds notes and no sound; render it to a wav"
    names = {
        b"PK\3\4": "zip",
        b"\x1f\x8b": "gzip",
        b"7z\xbc\xaf": "7-Zip",
        b"Rar!": "RAR",
        b"BZh": "bzip2",
        b"\xfd7zXZ": "xz",
    }
    name = next((name for magic, name in names.items() if head.startswith(magic)), "")
    return f"a {name} archive; unpack it and name the sounds in it" if name else ""


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


def flac_links(reader: ByteReader, start: int) -> list[ByteRange]:
    """The streams of a file that was made by joining FLAC files, from `start` on; one for a FLAC that is alone."""
    starts = [start]
    while (place := reader.find(FLAC_START, starts[-1] + len(FLAC_START))) >= 0:
        starts.append(place)
    return [ByteRange(here, end - here) for here, end in zip(starts, [*starts[1:], reader.size], strict=True)]


def flac_head(reader: ByteReader, start: int) -> tuple[bytes, float | None]:
    """The beginning of a FLAC stream with its number of samples made unknown, and the seconds that it declared.

    libsndfile reads no further than that number, which is wrong in a file that was appended to. It is the last 36 bits
    of bytes 10 to 17 of the STREAMINFO block (RFC 9639, section 8.2); 0 means unknown. Where a recording is written in
    pieces, the number counts from the beginning of the first piece, as the numbers of the frames do.
    """
    head = bytearray(reader.at(start, 26))
    fields = int.from_bytes(head[18:26], "big")
    rate, samples = fields >> 44, fields & (1 << 36) - 1
    head[18:26] = (fields - samples).to_bytes(8, "big")
    declared = samples - _first_sample(reader, start)
    return bytes(head), declared / rate if declared > 0 and rate else None


def flac_ends_as_declared(reader: ByteReader) -> bool:
    """Whether the last frame of a FLAC that begins the file ends with the sample that its header declares as last."""
    head = reader.at(0, 26)
    samples = int.from_bytes(head[18:26], "big") & (1 << 36) - 1
    tail_start = max(0, reader.size - _FLAC_TAIL)
    tail = reader.at(tail_start, _FLAC_TAIL)
    place = len(tail)
    while samples and (place := tail.rfind(b"\xff", 0, place)) >= 0:
        begins, length = _flac_frame(tail[place : place + 16], head)
        if length and begins + length == samples:
            return True
    return False


def _first_sample(reader: ByteReader, start: int) -> int:
    """The number of a FLAC stream's first sample, as its first frame gives it; 0 where there is no frame."""
    place, last = start + 4, False
    while not last and len(block := reader.at(place, 4)) == 4:
        last = bool(block[0] & 0x80)
        place += 4 + int.from_bytes(block[1:], "big")
    return _flac_frame(reader.at(place, 16), reader.at(start, 10))[0]


def _flac_frame(frame: bytes, head: bytes) -> tuple[int, int]:
    """The first sample and the samples of a FLAC frame; (0, 0) where none begins. `head`: the stream's beginning.

    The frame's header (RFC 9639, section 9.1): a sync code, whose last bit says whether blocks vary in size; the size
    of the block as a code, and more; the number of the sample or of the frame, coded as UTF-8 codes characters; for two
    codes the size itself.
    """
    if len(frame) < 16 or frame[0] != _FLAC_SYNC or frame[1] & 0xFE != 0xF8:
        return 0, 0
    length = max(1, 8 - (frame[4] ^ 0xFF).bit_length())  # leading ones
    number = frame[4] & (0x7F >> length if length > 1 else 0x7F)
    for byte in frame[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    behind, code = frame[4 + length :], frame[2] >> 4
    if code in (6, 7):
        size = int.from_bytes(behind[: code - 5], "big") + 1
    elif code > 7:
        size = 256 << code - 8
    else:
        size = 576 << code - 2 if code > 1 else 192 * code
    return (number if frame[1] & 1 else number * int.from_bytes(head[8:10], "big")), size


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
