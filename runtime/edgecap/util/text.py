"""Text from outside (captions of a foreign model, names, paths, answers of servers), made safe to show."""

from __future__ import annotations

import codecs
from typing import Any

FORMULA = ("=", "+", "-", "@")
"""How a cell begins that spreadsheets compute instead of showing."""

JOINERS = "\u200c\u200d"
"""Without width, between letters of Persian and Indic scripts and parts of an emoji, whose spelling needs them."""
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""Byte order marks that editors and shells on Windows put in front of a text, and its encoding then."""


def decoded(data: bytes) -> str:
    """The text of a file that a person wrote: UTF-8, or UTF-16 with a byte order mark or without one.

    Raises UnicodeDecodeError.
    """
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data[:2]:  # UTF-16 without a mark: Latin letters have a zero byte
        encoding = "utf-16-be" if data[0] == 0 else "utf-16-le"
    return data.decode(encoding)


def clean(text: str) -> str:
    """`text` on one line: control characters, line separators and what is not valid Unicode are escaped.

    So it can move no cursor, forge no line of a log or a subtitle, and be written as UTF-8. White space becomes spaces.
    """
    if text.isprintable():
        return text
    spaced = " ".join(text.split())
    return "".join(
        sign if sign.isprintable() or (sign in JOINERS and _joined(before) and _joined(after)) else _escaped(sign)
        for before, sign, after in zip(f" {spaced}", spaced, f"{spaced[1:]} ", strict=False)
    )


def cell(text: str) -> str:
    """`clean` for a table: what a spreadsheet would take for a formula is quoted by an apostrophe."""
    shown = clean(text)
    return f"'{shown}" if shown.startswith(FORMULA) else shown


def cleaned(document: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """`document` of dicts and lists with all of its texts, keys too, as `clean` leaves them."""
    match document:
        case str():
            return clean(document)
        case list():
            return [cleaned(value) for value in document]
        case dict():
            return {clean(key): cleaned(value) for key, value in document.items()}
        case _:
            return document


def _joined(character: str) -> bool:
    """Whether a joiner may stand beside it."""
    return not character.isascii() and character.isprintable()


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
