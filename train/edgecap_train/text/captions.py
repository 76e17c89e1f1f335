"""Captions: reading them, their words, and vocabularies of them.

Words are lower-case Penn-Treebank tokens of ASCII letters and digits without punctuation, as the vocabularies of the
published students and of the bundled models have them. Metrics count words in any alphabet, with
`edgecap_train.text.treebank.treebank_words`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecap_train.text.lexicon import LIGHT, PROOF, SPEAKERS
from edgecap_train.text.table_file import read_table

PAD, START, END, UNK = range(4)
SPECIALS = ("<pad>", "<start>", "<end>", "<unk>")
"""The first four words of every vocabulary, published or ours."""

_CLITIC = re.compile(r"(\w)('s|'re|'ve|'ll|'d|'m|n't)\b")
_WORD = re.compile(r"'?[a-z0-9]+(?:[-'.][a-z0-9]+)*")


@dataclass(frozen=True)
class LabelledCaption:
    """One human caption with the AudioSet labels of its clip."""

    clip: str
    """Identifier of the clip (YouTube id)."""
    words: tuple[str, ...]
    labels: tuple[str, ...]
    """AudioSet display names."""


def tokenize(text: str) -> tuple[str, ...]:
    """Lower-case tokens of a sentence for a model's vocabulary: clitics split off, punctuation and non-ASCII dropped.

    "A man's dog, barking." → ("a", "man", "'s", "dog", "barking")
    """
    return tuple(_WORD.findall(_CLITIC.sub(r"\1 \2", text.lower().replace("’", "'"))))


def read_audiocaps(path: Path, without: Collection[str] = ()) -> list[LabelledCaption]:
    """AudioCaps captions joined with labels (columns `youtube_id`, `caption`, `labels`).

    Clips named in `without` are left out: a development clip must not teach. Raises TableError.
    """
    rows = read_table(path, ("youtube_id", "caption", "labels"))
    return [
        LabelledCaption(row["youtube_id"], tokenize(row["caption"]), tuple(row["labels"].split(";")))
        for row in rows
        if row["youtube_id"] not in without
    ]


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


def with_proven_labels(caption: LabelledCaption, speakers: bool) -> LabelledCaption:
    """The caption with the labels that its own words prove; with who speaks, too, where `speakers`."""
    proven = [PROOF[word] for word in caption.words if word in PROOF]
    if speakers and "Speech" in caption.labels:
        proven += [SPEAKERS[word] for word in caption.words if word in SPEAKERS]
    return LabelledCaption(caption.clip, caption.words, tuple(dict.fromkeys((*caption.labels, *proven))))


JOINTS = frozenset({"and", "while", "as", "with", "then", "followed", "before", "after"})
"""Words at which a sentence can end before them."""
_LIGHT = JOINTS | LIGHT
"""Words that may be repeated."""
_AGAIN = frozenset({"another", "more", "again", "second", "other"})


def without_echo(words: tuple[str, ...]) -> tuple[str, ...]:
    """A sentence cut where it begins to repeat itself: "a person coughs and coughs" → "a person coughs".

    It is cut before the last run of joints ahead of a repeated word, and left as it is where there is none or where it
    announces another one.
    """
    earlier: set[str] = set()
    joint = 0
    for place, word in enumerate(words):
        if word in JOINTS:
            joint = place if not place or words[place - 1] not in JOINTS else joint
        elif word in earlier and joint and not _AGAIN & set(words[joint:place]):
            return words[:joint]
        elif word not in _LIGHT:
            earlier.add(word)
    return words
