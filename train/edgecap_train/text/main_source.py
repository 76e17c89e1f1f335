"""Whether a caption names the main sound source of a recording, counted from words.

People who describe a recording agree on the main sound and differ in everything else. The main source is the one that
most of a recording's references name; of several, the one that they name first. A caption names it where one of its
words has one of that source's beginnings. Who speaks does not matter, that somebody does is the source; words for
people alone ("a man …") name none, since the sound is what he does.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from edgecap_train.text import load_table
from edgecap_train.text.tokenizer import tokenize

SOURCES = {source: tuple(stems) for source, stems in load_table("main_source").items()}
"""Beginnings of words for each source; one that ends in a space stands for the whole word."""


AGREED_SHARE = 0.6
"""Of a recording's references that name a source all agree on: three of five."""


def named_sources(text: str) -> dict[str, int]:
    """The sources that a caption names, each with the place of the first word that does."""
    places: dict[str, int] = {}
    for place, word in enumerate(tokenize(text)):
        for source, stems in SOURCES.items():
            if source not in places and f"{word} ".startswith(stems):
                places[source] = place
    return places


def main_source(references: Sequence[str]) -> str | None:
    """The source that most references name, of several the one named first on average; None for none."""
    named = [named_sources(text) for text in references]
    places = {source: [clip[source] for clip in named if source in clip] for source in SOURCES}
    ranks = {source: (-len(at), sum(at) / len(at)) for source, at in places.items() if at}
    return min(ranks, key=lambda source: ranks[source]) if ranks else None


def names_main_source(caption: str, references: Sequence[str]) -> bool | None:
    """Whether the caption names the main source of the recording; None where the references name none."""
    source = main_source(references)
    return None if source is None else source in named_sources(caption)


def agreed_sources(references: Sequence[str]) -> frozenset[str]:
    """The sources that at least three of five references name."""
    named = [named_sources(text) for text in references]
    least = ceil(AGREED_SHARE * len(named))
    return frozenset(source for source in SOURCES if sum(source in places for places in named) >= least)


def invented_sources(caption: str, references: Sequence[str]) -> frozenset[str]:
    """The sources that the caption names and no reference does."""
    return frozenset(named_sources(caption)).difference(*(named_sources(text) for text in references))
