"""The frames of an mp3, counted.

An mp3 does not store its length. A Xing or Info frame may declare one, which is wrong for joined files; without it
libsndfile 1.2.2 (mpg123) assumes the first frame's bit rate for all, and reads no further than the length that follows
from it. So the frame headers are counted here, and where libsndfile would assume another number, it gets the frames
behind an Info frame with the true count.

Frame layout: ISO/IEC 11172-3 (MPEG-1) and 13818-3 (MPEG-2), layer III; the Info frame's: as LAME writes it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from edgecap.audio.decoders.ranges import ByteRange, ByteReader

KILOBITS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates of layer III by MPEG version (2.5 has those of 2); 0 is the free format, which is not walked."""
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""Sample rates by the header's version bits: 3 is MPEG-1, 2 is MPEG-2, 0 is MPEG-2.5."""
HEADER = 4
TAGS = (b"Xing", b"Info")
EMPTY_TAG = b"ID3\3\0\0\0\0\0\n" + bytes(10)
"""An ID3 tag without content; libmpg123 believes in none of fewer than 10 bytes.

For an mp3 without a tag, libsndfile 1.2.2 first looks for a companion file of macOS, `._NAME` or, for a file-like
object, `._` in the working folder; if there is one, it takes the mp3 for a damaged SD2 file.
"""
_STRIDE = 1 << 18
_LARGEST_FRAME = 2048
"""No frame of layer III has more bytes: 1,441 at 320 kbit/s and 32 kHz."""
SEARCHED = 1 << 16
"""Places, bytes of 255, at which a frame is looked for between others; zeros cost nothing, so a hole has any size."""
SEARCHED_FIRST = 1 << 12
"""As that, for the first frame of a file, which may be none of layer III."""
FOLLOWERS = 3
"""Frames that have to follow one of another version, sample rate or number of channels than those before it."""


@dataclass(frozen=True)
class Frame:
    """What a frame's header says."""

    size: int
    """Bytes, header included."""
    samples: int
    """Samples of each channel."""
    rate: int
    side: int
    """Bytes of side information, after which a Xing or Info tag stands."""
    kind: tuple[int, int, bool]
    """Version, sample rate index, and whether it is mono: what a decoder does not expect to change."""


@dataclass(frozen=True)
class Mp3Layout:
    """Where the frames of a stretch of one kind are."""

    ranges: tuple[ByteRange, ...]
    """Runs of frames, without tags, rubbish between them, and Xing or Info frames."""
    count: int
    """Frames in them."""
    declared: int | None
    """Frames that the first Xing or Info frame declares."""
    first: Frame
    header: bytes
    """Header of the first frame."""

    @property
    def promised(self) -> float:
        """Seconds that there are, or that the Xing or Info frame declares where it declares more."""
        return max(self.count, self.declared or 0) * self.first.samples / self.first.rate

    @property
    def seconds(self) -> float:
        """Duration of all frames."""
        return self.count * self.first.samples / self.first.rate

    def head(self) -> bytes:
        """A tag and an Info frame that declares `count` frames, to stand before `ranges`."""
        versions = 1 if self.header[1] >> 3 & 3 == 3 else 2
        needed = HEADER + self.first.side + 12
        for index in range(1, len(KILOBITS[versions])):
            header = bytes((0xFF, self.header[1] | 1, index << 4 | self.header[2] & 0x0C, self.header[3]))
            frame = parse_header(header)
            if frame is not None and frame.size >= needed:
                tag = TAGS[1] + struct.pack(">II", 1, self.count)
                return EMPTY_TAG + (header + bytes(frame.side) + tag).ljust(frame.size, b"\0")
        raise AssertionError("the largest frame of layer III holds an Info tag")


def parse_header(header: bytes) -> Frame | None:
    """The frame that four bytes begin; None where they begin none of layer III with a known size."""
    if len(header) < HEADER or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, rate_index, rate_bits = header[1] >> 3 & 3, header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or rate_index == 3 or rate_bits in (0, 15):
        return None
    first_version, mono = version == 3, header[3] >> 6 == 3
    kilobits = KILOBITS[1 if first_version else 2][rate_bits]
    rate = RATES[version][rate_index]
    samples = 1152 if first_version else 576
    size = samples // 8 * kilobits * 1000 // rate + (header[2] >> 1 & 1)
    side = (17 if mono else 32) if first_version else (9 if mono else 17)
    return Frame(size, samples, rate, side, (version, rate_index, mono))


def read_layouts(reader: ByteReader, start: int = 0) -> list[Mp3Layout]:
    """Walk the frame headers of a file from `start` on: a layout for each stretch of frames of one kind.

    Joined files give several. None for a file that is not an mp3 whose frames can be counted.
    """
    layouts: list[Mp3Layout] = []
    place = _next_frame(reader, after_tags(reader, start), None)
    while place is not None:
        layout, place = _read_layout(reader, place)
        if layout.count:
            layouts.append(layout)
    return layouts


def _read_layout(reader: ByteReader, start: int) -> tuple[Mp3Layout, int | None]:
    """The frames from `start` on that are of the first one's kind, and where those of another kind begin."""
    header = reader.at(start, HEADER)
    first = parse_header(header)
    assert first is not None
    ranges: list[ByteRange] = []
    declared, count, place = None, 0, start
    sizes: dict[bytes, int] = {}
    while True:
        end, frames = _walk(reader, place, first, sizes)
        if frames:
            ranges.append(ByteRange(place, end - place))
            count += frames
        frame = parse_header(reader.at(end, HEADER))
        if frame is not None and frame.kind == first.kind and _is_tag(reader, end, frame):
            if declared is None and not count:
                declared = _declared(reader, end, frame)
            place = end + frame.size
            continue
        # A frame over which no step leads is not looked at again, or the search would never end.
        following = _next_frame(reader, after_tags(reader, end if frames else max(end, place + 1)), first.kind)
        frame = None if following is None else parse_header(reader.at(following, HEADER))
        if following is None or frame is None or frame.kind != first.kind:
            return Mp3Layout(tuple(ranges), count, declared, first, header), following
        place = following


def _walk(reader: ByteReader, place: int, first: Frame, sizes: dict[bytes, int]) -> tuple[int, int]:
    """Step over the frames from `place` on: where the first thing stands that is none, or holds a tag, and their count.

    An hour has 140,000 frames, so what a header's bytes say is looked up in `sizes`.
    """
    count, tag = 0, slice(HEADER + first.side, HEADER + first.side + 4)
    while True:
        data = reader.at(place, _STRIDE)
        last, offset = len(data) - _LARGEST_FRAME if place + len(data) < reader.size else len(data) - HEADER, 0
        while offset <= last:
            if data[offset] != 0xFF:
                return place + offset, count
            key = data[offset + 1 : offset + HEADER]
            size = sizes.get(key)
            if size is None:
                frame = parse_header(data[offset : offset + HEADER])
                size = sizes[key] = frame.size if frame is not None and frame.kind == first.kind else 0
            beyond = place + offset + size > reader.size
            if not size or beyond or data[offset + tag.start : offset + tag.stop] in TAGS:
                return place + offset, count
            offset += size
            count += 1
        if place + len(data) >= reader.size:
            return place + offset, count
        place += offset


def after_tags(reader: ByteReader, place: int) -> int:
    """The place behind ID3v2 tags at `place`, which say their size in seven bits a byte."""
    while (tag := reader.at(place, 10))[:3] == b"ID3" and len(tag) == 10:
        size = tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9]
        place += 10 + size + (10 if tag[5] & 0x10 else 0)
    return place


def _next_frame(reader: ByteReader, place: int, kind: tuple[int, int, bool] | None) -> int | None:
    """Where the next frame begins that others follow, or that ends the file; None where none is near.

    One follower is enough for a frame of `kind`, or for the first of a file.
    """
    for _ in range(SEARCHED_FIRST if kind is None else SEARCHED):
        if not 0 <= place <= reader.size - HEADER:
            return None
        frame = parse_header(reader.at(place, HEADER))
        if frame is not None:
            known = kind in (None, frame.kind)
            if _followers(reader, place, frame, 1 if known else FOLLOWERS) or (
                frame.kind == kind and place + frame.size == reader.size
            ):
                return place
        place = reader.find(b"\xff", place + 1)
    return None


def _followers(reader: ByteReader, place: int, frame: Frame, count: int) -> bool:
    """Whether `count` frames of its kind follow a frame."""
    for _ in range(count):
        place += frame.size
        following = parse_header(reader.at(place, HEADER))
        if following is None or following.kind != frame.kind:
            return False
        frame = following
    return True


def _is_tag(reader: ByteReader, place: int, frame: Frame) -> bool:
    return reader.at(place + HEADER + frame.side, 4) in TAGS


def _declared(reader: ByteReader, place: int, frame: Frame) -> int | None:
    """Frames that a Xing or Info frame declares; None where it does not."""
    data = reader.at(place + HEADER + frame.side + 4, 8)
    if len(data) < 8:
        return None
    flags, count = struct.unpack(">II", data)
    return int(count) if flags & 1 else None
