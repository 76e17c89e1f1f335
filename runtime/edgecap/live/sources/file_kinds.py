"""What a pipe holds that should hold raw samples: by how files begin, or by frames that follow one another."""

from __future__ import annotations

import codecs
from collections.abc import Callable

MARKS = {
    b"RIFF": "a WAV file",
    b"RF64": "a WAV file",
    b"FORM": "an AIFF file",
    b"fLaC": "a FLAC file",
    b"OggS": "an Ogg file",
    b"ID3": "an MP3 file",
    b".snd": "an AU file",
    b"caff": "a CAF file",
    b"wvPK": "a WavPack file",
    b"#!AMR": "an AMR file",
    b"\x30\x26\xb2\x75": "a Windows Media file",
    b"\x1a\x45\xdf\xa3": "a Matroska or WebM file",
    b"\x1f\x8b\x08": "a gzip file",
    b"PK\x03\x04": "a zip file",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff\xe0": "a picture",
}
"""How files begin that are not raw samples."""
LEAST_FRAMES = 4
"""Frames in a row that make a stream."""
MOST_BEFORE = 2048
"""Bytes of a cut frame before the first whole one."""
BITRATES = {
    (3, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Kilobits a second of MPEG audio (ISO 11172-3, 13818-3) by version (3 is MPEG-1) and layer bits (1 is layer III)."""
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def begins_as(data: bytes) -> str:
    """What file begins with these bytes; an empty string where none is known."""
    kinds = [kind for mark, kind in MARKS.items() if data.startswith(mark)]
    return kinds[0] if kinds else "an MP4 file" if data[4:8] == b"ftyp" else ""


def kind_of(data: bytes) -> str:
    """What the first bytes of a pipe are, where they are not raw samples; else an empty string."""
    if kind := begins_as(data):
        return kind
    starts = [place for place, byte in enumerate(data[:MOST_BEFORE]) if byte == 0xFF]
    if any(_is_stream(data, start, length_at) for length_at in (_mpeg_frame, _adts_frame) for start in starts):
        return "an MP3 or AAC stream"
    if len(data) > 188 * LEAST_FRAMES and all(data[place] == 0x47 for place in range(0, len(data), 188)):
        return "an MPEG transport stream"
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    return "text" if _is_text(data, encoding) else ""


def _is_stream(data: bytes, place: int, length_at: Callable[[bytes], int]) -> bool:
    """Whether all from `place` on is frames of one kind, each as long as its header says."""
    first, count = data[place : place + 3], 0
    while place + 7 <= len(data):
        head = data[place : place + 7]
        length = length_at(head)
        if not length or head[1] != first[1] or (head[2] ^ first[2]) & 0x0C:
            return False
        place, count = place + length, count + 1
    return count >= LEAST_FRAMES


def _mpeg_frame(head: bytes) -> int:
    """Length of the frame of MPEG audio with this header; 0 where it is none."""
    version, layer, rate, bits = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 2 & 3, head[2] >> 4
    if head[0] != 0xFF or head[1] < 0xE0 or version == 1 or layer == 0 or rate == 3 or not 0 < bits < 15:
        return 0
    bitrate, padding = 1000 * BITRATES[max(2, version), layer][bits - 1], head[2] >> 1 & 1
    if layer == 3:
        return (12 * bitrate // RATES[version][rate] + padding) * 4
    return (72 if layer == 1 and version != 3 else 144) * bitrate // RATES[version][rate] + padding


def _adts_frame(head: bytes) -> int:
    """Length of the AAC frame with this header; 0 where it is none."""
    if head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > 7 else 0


def _is_text(data: bytes, encoding: str) -> bool:
    """Whether all of it is printable text, which may end in the middle of a character."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return False
    return bool(text.strip("\ufeff")) and all(sign.isprintable() or sign in "\t\n\r\f" for sign in text.strip("\ufeff"))
