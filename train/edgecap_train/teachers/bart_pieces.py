"""Captions to BART's byte pairs, for training a teacher: BART-base's own pairs, or pairs learnt from the captions.

The way back is `edgecap_train.teachers.bart_words`. Both files that a tokenizer consists of, `vocab.json` and
`merges.txt`, have BART's form, so that a teacher from scratch is read like the published one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgecap.errors import CheckpointError, MissingDependencyError
from edgecap.util.files import write_atomically
from edgecap_train.teachers.bart_words import MASK

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
        self.vocabulary_file = vocabulary
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

    The vocabulary comes last, so that a folder which has it has both, atomic_file.
    """
    tokenizer = _library()()
    tokenizer.train_from_iterator(
        captions, vocab_size=size - 1, min_frequency=2, show_progress=False, special_tokens=list(SPECIAL_PIECES)
    )
    with TemporaryDirectory() as made:
        tokenizer.save_model(made)
        merges = (Path(made) / MERGES_FILE).read_bytes()
        table: dict[str, int] = json.loads((Path(made) / VOCABULARY_FILE).read_text(encoding="utf-8"))
    write_atomically(folder / MERGES_FILE, merges)
    write_atomically(folder / VOCABULARY_FILE, json.dumps(table | {MASK: len(table)}, ensure_ascii=False))
    return BartPieces(folder)


def padded(captions: Sequence[Sequence[int]], pad: int) -> list[list[int]]:
    """Captions of one length."""
    longest = max(map(len, captions))
    return [[*ids, *[pad] * (longest - len(ids))] for ids in captions]


def _library() -> Any:  # noqa: ANN401 - tokenizers has no types
    try:
        from tokenizers import ByteLevelBPETokenizer
    except ImportError as error:
        raise MissingDependencyError.for_extra("training the teacher HTSAT-BART", "teacher") from error
    return ByteLevelBPETokenizer
