"""BART's tokenizer: captions to byte pairs for training a teacher (`BartPieces`), and token ids to text (`BartWords`).

Tokens are byte pairs written with one printable character for each byte (Radford et al. 2019), so a text is the bytes
of its tokens, one after the other. The pairs are BART-base's own, of which edgecap ships no copy, or learnt from the
captions; both files of a tokenizer, `vocab.json` and `merges.txt`, have BART's form, so that a teacher from scratch is
read like the published one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgecap.errors import CheckpointError, MissingDependencyError
from edgecap.util.documents import from_json
from edgecap.util.files import to_json, write_atomically

FIRST_WORD = 4
"""The ids below are <s>, <pad>, </s> and <unk>."""
MASK = "<mask>"


@dataclass(frozen=True)
class BartWords:
    """The tokens of a vocabulary by id."""

    tokens: tuple[str, ...]

    def text(self, ids: Iterable[int]) -> str:
        """The text of token ids, without the special ones; bytes that are not UTF-8 become replacement characters."""
        known = [self.tokens[token] for token in ids if FIRST_WORD <= token < len(self.tokens)]
        pieces = "".join(token for token in known if token != MASK)
        return bytes(_BYTES.get(character, ord("?")) for character in pieces).decode(errors="replace").strip()


def read_bart_words(path: Path, size: int) -> BartWords:
    """Read a `vocab.json` (token → id). Raises CheckpointError where its ids are not 0 to `size` - 1."""
    try:
        document = from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read as BART's vocabulary ({error}); give the vocab.json of BART-base"
        ) from error
    if not isinstance(document, dict) or sorted(document.values(), key=str) != sorted(range(size), key=str):
        raise CheckpointError(f"{path} is not a vocabulary of {size} tokens; give the vocab.json of BART-base")
    return BartWords(tuple(sorted(document, key=lambda token: int(document[token]))))


def _byte_characters() -> dict[str, int]:
    """The character that stands for each byte: itself where it prints, else the next free one from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTES = _byte_characters()


SPECIAL_PIECES = ("<s>", "<pad>", "</s>", "<unk>")
BEGIN, END = 0, 2
VOCABULARY_FILE, MERGES_FILE = "vocab.json", "merges.txt"
FEWEST_PIECES = 256 + len(SPECIAL_PIECES) + 1
"""Every byte, the special pieces and the mask."""


class BartPieces:
    """Text to token ids."""

    def __init__(self, folder: Path) -> None:
        """From a folder with BART's two files. Raises CheckpointError, MissingDependencyError without tokenizers."""
        tokenizer = _library()
        vocabulary, merges = folder / VOCABULARY_FILE, folder / MERGES_FILE
        if not (vocabulary.is_file() and merges.is_file()):
            raise CheckpointError(
                f"{folder} does not hold {VOCABULARY_FILE} and {MERGES_FILE}, BART-base's tokenizer; "
                "name its folder, or leave --words out to learn pieces from the captions"
            )
        try:
            self._tokenizer = tokenizer.from_file(str(vocabulary), str(merges))
            self.size = len(json.loads(vocabulary.read_text(encoding="utf-8")))
        except Exception as error:  # the library raises bare exceptions
            raise CheckpointError(f"the tokenizer in {folder} cannot be read ({error}); copy it again") from error

    def ids(self, text: str, most: int) -> list[int] | None:
        """Begin, pieces, end; None where there are more than `most`."""
        ids = [BEGIN, *self._tokenizer.encode(text).ids, END]
        return ids if len(ids) <= most else None


def learn_pieces(captions: Iterable[str], folder: Path, size: int) -> BartPieces:
    """Learn at most `size` pieces, `FEWEST_PIECES` or more, from captions and write both files into `folder`.

    The vocabulary comes last, so that a folder which has it has both, complete.
    """
    tokenizer = _library()()
    tokenizer.train_from_iterator(
        captions, vocab_size=size - 1, min_frequency=2, show_progress=False, special_tokens=list(SPECIAL_PIECES)
    )
    with TemporaryDirectory() as saved:
        tokenizer.save_model(saved)
        merges = (Path(saved) / MERGES_FILE).read_bytes()
        table: dict[str, int] = json.loads((Path(saved) / VOCABULARY_FILE).read_text(encoding="utf-8"))
    write_atomically(folder / MERGES_FILE, merges)
    write_atomically(folder / VOCABULARY_FILE, to_json(table | {MASK: len(table)}))
    return BartPieces(folder)


def _library() -> Any:  # noqa: ANN401 - tokenizers has no types
    try:
        from tokenizers import ByteLevelBPETokenizer
    except ImportError as error:
        raise MissingDependencyError.for_extra("training the teacher HTSAT-BART", "teacher") from error
    return ByteLevelBPETokenizer
