"""Tokens: captions to words, words to ids.

Words are lower-case Penn-Treebank tokens of ASCII letters and digits without punctuation, as the vocabularies of the
published students and of the bundled models have them. Metrics count words in any alphabet, with
`edgecap_train.text.treebank.treebank_words`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from edgecap.bundle.vocabulary import SPECIALS

PAD, START, END, UNK = range(4)

_CLITIC = re.compile(r"(\w)('s|'re|'ve|'ll|'d|'m|n't)\b")
_WORD = re.compile(r"'?[a-z0-9]+(?:[-'.][a-z0-9]+)*")


def tokenize(text: str) -> tuple[str, ...]:
    """Lower-case tokens of a sentence for a model's vocabulary: clitics split off, punctuation and non-ASCII dropped.

    "A man's dog, barking." → ("a", "man", "'s", "dog", "barking")
    """
    return tuple(_WORD.findall(_CLITIC.sub(r"\1 \2", text.lower().replace("’", "'"))))


def build_vocabulary(captions: Iterable[tuple[str, ...]], least: int) -> tuple[str, ...]:
    """Special tokens, then every word that occurs `least` times or more, the commonest first."""
    counts = Counter(word for words in captions for word in words)
    kept = sorted((word for word, count in counts.items() if count >= least), key=lambda word: (-counts[word], word))
    return (*SPECIALS, *kept)


class Tokenizer:
    """Words to ids of one vocabulary."""

    def __init__(self, vocabulary: tuple[str, ...]) -> None:
        self.ids = {word: index for index, word in enumerate(vocabulary)}

    def encode(self, words: tuple[str, ...], max_tokens: int) -> list[int] | None:
        """Ids with the end token, or None where a word is unknown or the caption is longer than `max_tokens`."""
        ids = [self.ids.get(word, UNK) for word in words]
        if not ids or UNK in ids or len(ids) + 1 > max_tokens:
            return None
        return [*ids, END]


def padded(captions: Sequence[Sequence[int]], pad: int) -> list[list[int]]:
    """Captions of token ids at one length, filled up with `pad`."""
    longest = max(map(len, captions))
    return [[*ids, *[pad] * (longest - len(ids))] for ids in captions]
