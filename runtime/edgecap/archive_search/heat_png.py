"""The heat map of a summary as a PNG, without a drawing library: rectangles, and digits from a small font.

matplotlib would be a large extra for a device, and takes longer to load than this takes to draw.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from edgecap.archive_search.summary import HeardSummary, drawn_days, shade

CELL, LEFT, TOP, SCALE = 30, 132, 28, 2
"""Pixels: of an hour, of the dates at the left, of the hours at the top, of a dot of the font."""
PALETTE = ("ffffff", "dae6ed", "a9c5d6", "79a4bf", "0b5a8a", "1c1b19", "e4e6ec")
"""Five shades, ink, and lines."""
INK, LINE = 5, 6
_FONT = {
    "0": "75557",
    "1": "26227",
    "2": "71747",
    "3": "71717",
    "4": "55711",
    "5": "74717",
    "6": "74757",
    "7": "71122",
    "8": "75757",
    "9": "75717",
    "-": "00700",
    "k": "45655",
}
"""Signs of 3 by 5 dots: for each of the rows an octal digit, whose bits are dots."""


def heat_png(summary: HeardSummary) -> bytes:
    """A row a day, newest first, a column an hour of the day; the darker, the more, and the counts in figures."""
    days, _ = drawn_days(summary)
    most = max((count for counts in days.values() for count in counts), default=0)
    picture = np.zeros((TOP + CELL * max(1, len(days)) + 4, LEFT + CELL * 24 + 4), np.uint8)
    for hour in range(24):
        _write(picture, str(hour), LEFT + hour * CELL + CELL // 2, TOP // 2, INK)
    for row, (day, counts) in enumerate(days.items()):
        top = TOP + row * CELL
        _write(picture, day, LEFT // 2, top + CELL // 2, INK)
        for hour, count in enumerate(counts):
            left, level = LEFT + hour * CELL, shade(count, most)
            picture[top : top + CELL, left : left + CELL] = LINE
            picture[top : top + CELL - 1, left : left + CELL - 1] = level
            if count:
                text = str(count) if count < 1000 else f"{count // 1000}k"
                _write(picture, text, left + CELL // 2, top + CELL // 2, 0 if level == 4 else INK)
    return _png(picture)


def _write(picture: NDArray[np.uint8], text: str, x: int, y: int, colour: int) -> None:
    """Write a text around a point."""
    dots = np.zeros((5, 4 * len(text) - 1), np.uint8)
    for place, sign in enumerate(text):
        for row, bits in enumerate(_FONT[sign]):
            for column in range(3):
                dots[row, 4 * place + column] = int(bits) >> (2 - column) & 1
    large = dots.repeat(SCALE, axis=0).repeat(SCALE, axis=1).astype(bool)
    top, left = y - large.shape[0] // 2, x - large.shape[1] // 2
    picture[top : top + large.shape[0], left : left + large.shape[1]][large] = colour


def _png(picture: NDArray[np.uint8]) -> bytes:
    """A picture of numbers of colours (height, width) as a PNG with the palette."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = picture.shape
    lines = np.hstack((np.zeros((height, 1), np.uint8), picture)).tobytes()  # each line begins with its filter, none
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    colours = bytes.fromhex("".join(PALETTE))
    parts = (
        chunk(b"IHDR", header),
        chunk(b"PLTE", colours),
        chunk(b"IDAT", zlib.compress(lines, 9)),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
