"""Vocabularies in the forms they are published in: words in, a tuple of words by id out.

Knows nothing about weights. Read are: a `tokenizer.json` of the tokenizers library, a JSON object of
word → id (also nested under a name such as "word2idx", as training checkpoints hold it), and a JSON
list, which is the form that bundles use.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgecap.errors import CheckpointError
from edgecap.util.documents import from_json
from edgecap.util.files import read_at_most
from edgecap.util.limits import MOST_VOCABULARY

Vocabulary = tuple[str, ...]
SPECIALS = ("<pad>", "<start>", "<end>", "<unk>")
"""The first four words of every vocabulary, published or ours."""

NESTED = ("model", "vocab", "word2idx", "token_to_id", "tokenizer", "vocabulary")
"""Names under which a word → id table is found inside a larger document."""


def read_vocabulary(path: Path) -> Vocabulary:
    """The vocabulary in a JSON file. Raises CheckpointError saying what is wrong with it."""
    try:
        if path.stat().st_size > MOST_VOCABULARY:
            raise CheckpointError(
                f"{path} is larger than {MOST_VOCABULARY >> 20} MiB, so it is no vocabulary; "
                "give --vocabulary a tokenizer.json or a word-to-id JSON file"
            )
        document = from_json(read_at_most(path, MOST_VOCABULARY))
    except OSError as error:
        raise CheckpointError(
            f"the vocabulary {path} cannot be read ({error.strerror or error}); "
            "give --vocabulary a tokenizer.json or a word-to-id JSON file"
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"the vocabulary {path} is not JSON ({error}); give --vocabulary a tokenizer.json or a word-to-id JSON file"
        ) from error
    return parse_vocabulary(document, str(path))


def parse_vocabulary(document: object, source: str) -> Vocabulary:
    """Words by id, from any of the forms; `source` is named in errors.

    Raises CheckpointError unless the ids are 0 … n - 1, each once, and the special tokens the first four.
    """
    table = _table(document)
    if not table:
        raise CheckpointError(f"{source} holds no vocabulary: neither a word-to-id table nor a list of words")
    words = {index: word for word, index in table.items()}
    for index in range(len(table)):
        if index not in words:
            raise CheckpointError(
                f"the vocabulary in {source} has {len(table)} words and no word with id {index}; "
                "ids must be contiguous from 0, each used once"
            )
    for index, token in enumerate(SPECIALS):
        if words.get(index) != token:
            raise CheckpointError(
                f"the vocabulary in {source} has {words.get(index)!r} as id {index} where "
                f"{token!r} is needed; it is not one of the published kind"
            )
    return tuple(words[index] for index in range(len(table)))


def check_size(vocabulary: Vocabulary, rows: int, source: str) -> None:
    """Raise CheckpointError unless the vocabulary has one word for each of the embedding's `rows`."""
    if len(vocabulary) != rows:
        raise CheckpointError(
            f"the vocabulary has {len(vocabulary)} words and the word embedding of {source} has "
            f"{rows} rows; give --vocabulary the one this checkpoint was trained with"
        )


def _table(document: object) -> dict[str, int]:
    """Word → id, wherever it is in the document; empty where there is none."""
    if isinstance(document, list) and all(isinstance(word, str) for word in document):
        return {word: index for index, word in enumerate(document)}
    if not isinstance(document, Mapping):
        return {}
    if document and all(isinstance(word, str) and _is_id(index) for word, index in document.items()):
        return dict(document)
    for name in NESTED:
        table = _table(document.get(name))
        if table:
            return {**table, **_added(document.get("added_tokens"))}
    return {}


def _added(tokens: object) -> dict[str, int]:
    """The tokens that a `tokenizer.json` lists beside its model's vocabulary."""
    entries = [entry for entry in tokens if isinstance(entry, Mapping)] if isinstance(tokens, list) else []
    return {
        entry["content"]: entry["id"]
        for entry in entries
        if isinstance(entry.get("content"), str) and _is_id(entry.get("id"))
    }


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
