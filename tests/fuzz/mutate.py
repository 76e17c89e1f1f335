"""Changes to a good input that other inputs' faults are made of: bytes, sizes, values, nesting, foreign characters."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import lru_cache

Edit = tuple[int, int, int, bytes]
"""Kind (of KINDS), place, size, and what is put there."""
KINDS = ("replace", "insert", "remove", "repeat", "cut", "value")
LARGEST_PLACE, LARGEST_SIZE = 1 << 16, 64
VALUE = re.compile(rb'"(?:[^"\\]|\\.){0,200}"|-?\d[\d.eE+-]*|\b(?:true|false|null)\b|[\[{][\]}]')
"""A value of JSON or TOML, or a number of any text."""
PAYLOADS = (
    b"", b"\0", bytes(4), bytes(8), b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f",
    b"0", b"-1", b"1e400", b"-1e400", b"NaN", b"Infinity", b"1e-320", b"9" * 20, b"9" * 400, b"9" * 5000, b"1.5",
    b"true", b"null", b"[]", b"{}", b'""', b"''", b'"a"', b"[[[]]]", b"[" * 90 + b"]" * 90, b"[" * 2000,
    b'{"a":' * 90 + b"1" + b"}" * 90, b'{"a":' * 2000, b"a." * 500 + b"a = 1\n", b"a" * 300, b'"' + b"a" * 5000 + b'"',
    b"\n", b"\r\n", b",", b";", b'"', b"=", b"\\", b"\x1b[31m", b'"\\u001b]0;x\\u0007"', b'"\\ud800"', b'"\\u0000"',
    "\u2028".encode(), "ｱ١é".encode(), b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"../../etc/passwd", b"%00",
    b"2026-02-30", b"9999-12-31", b"0001-01-01", b"24:61", b"00:00-00:00", b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 99999999999999999999\r\n", b"Range: bytes=-9,9-\r\n",
)  # fmt: skip


def changed(data: bytes, edits: Sequence[Edit]) -> bytes:
    """`data` after the edits: first those of values, whose places are known, then the others in order."""
    new = bytearray(data)
    values = values_of(data) if any(KINDS[kind] == "value" for kind, *_ in edits) else ()
    chosen = {
        values[place % len(values)]: payload for kind, place, _, payload in edits if KINDS[kind] == "value" and values
    }
    for start, end in sorted(chosen, reverse=True):
        new[start:end] = chosen[start, end]
    for kind, place, size, payload in edits:
        at = place % (len(new) + 1)
        match KINDS[kind]:
            case "replace":
                new[at : at + len(payload)] = payload
            case "insert":
                new[at:at] = payload
            case "remove":
                del new[at : at + size]
            case "repeat":
                new[at:at] = new[at : at + size] * 3
            case "cut":
                del new[at:]
    return bytes(new)


@lru_cache(maxsize=256)
def values_of(data: bytes) -> tuple[tuple[int, int], ...]:
    """Begin and end of each value near the beginning of `data`."""
    return tuple(match.span() for match in VALUE.finditer(data[:LARGEST_PLACE]))


def random_edits(source: random.Random) -> list[Edit]:
    """One to six edits."""
    return [
        (
            source.randrange(len(KINDS)),
            source.randrange(LARGEST_PLACE) if source.random() < 0.5 else source.randrange(200),
            source.randrange(LARGEST_SIZE),
            source.choice(PAYLOADS) if source.random() < 0.8 else source.randbytes(source.randrange(1, 9)),
        )
        for _ in range(source.choice((1, 1, 1, 2, 3, 6)))
    ]
