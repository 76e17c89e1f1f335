"""BART's words: token ids to text, from the `vocab.json` of BART-base.

Only the way back is here. Tokens are byte pairs written with one printable character for each byte (Radford et al.
2019), so a text is the bytes of its tokens, one after the other. edgecap ships no copy of that file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgecap.errors import CheckpointError

FIRST_WORD = 4
"""Below lie <s>, <pad>, </s> and <unk>."""
MASK = "<mask>"


@dataclass(frozen=True)
class BartWords:
    """The tokens of a vocabulary by id."""

    tokens: tuple[str, ...]

    def text(self, ids: Iterable[int]) -> str:
        """The text of token ids, without the special ones; bytes that are no UTF-8 become replacement characters."""
        known = [self.tokens[token] for token in ids if FIRST_WORD <= token < len(self.tokens)]
        pieces = "".join(token for token in known if token != MASK)
        return bytes(_BYTES.get(character, ord("?")) for character in pieces).decode(errors="replace").strip()


def read_bart_words(path: Path, size: int) -> BartWords:
    """Read a `vocab.json` (token → id). Raises CheckpointError where its ids are not 0 to `size` - 1."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read as BART's vocabulary ({error}); give the vocab.json of BART-base"
        ) from error
    if not isinstance(document, dict) or sorted(document.values(), key=str) != sorted(range(size), key=str):
        raise CheckpointError(f"{path} is no vocabulary of {size} tokens; give the vocab.json of BART-base")
    return BartWords(tuple(sorted(document, key=lambda token: int(document[token]))))


def _byte_characters() -> dict[str, int]:
    """The character that stands for each byte: itself where it prints, else the next free one from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTES = _byte_characters()
