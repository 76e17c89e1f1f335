"""Human captions: reading them, and what their own words prove or repeat."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from edgecap_train.text.lexicon import LIGHT, PROOF, SPEAKERS
from edgecap_train.text.table_file import read_table
from edgecap_train.text.tokenizer import tokenize


@dataclass(frozen=True)
class LabelledCaption:
    """One human caption with the AudioSet labels of its clip."""

    clip: str
    """Identifier of the clip (YouTube id)."""
    words: tuple[str, ...]
    labels: tuple[str, ...]
    """AudioSet display names."""


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
