"""Ranking of captions by words.

An archive has millions of rows and few distinct captions, so only these are indexed: in memory, for each search anew or
from the search before, by SQLite's FTS5, whose tokenizer has Porter's stems and whose ranking is BM25. DuckDB's own
full-text extension is not part of its package and would have to be downloaded.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable

from edgecap.errors import ConfigError, MissingDependencyError
from edgecap.live.events.similarity import FUNCTION_WORDS

MOST_WORDS, MOST_SHOWN = 32, 80
_WORD = re.compile(r"[^\W_]+")
"""As the tokenizer cuts words, to which an underscore is a space."""
_TOKENIZER = "porter unicode61 remove_diacritics 2"


def query_words(text: str) -> tuple[str, ...]:
    """The words to look for: those with a meaning, in lower case, or all where there is none. Raises ConfigError."""
    words = tuple(dict.fromkeys(_WORD.findall(text.lower())))
    if not words or len(words) > MOST_WORDS:
        shown = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
        raise ConfigError(f"{shown!r} has {len(words)} words; name 1 to {MOST_WORDS}, as in 'dog barking near water'")
    return tuple(word for word in words if word not in FUNCTION_WORDS) or words


class WordIndex:
    """The index of some distinct captions."""

    def __init__(self, captions: Iterable[str]) -> None:
        """Index them. Raises MissingDependencyError where Python's SQLite has no FTS5."""
        self.captions = tuple(captions)
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        try:
            self._database.execute(f"CREATE VIRTUAL TABLE texts USING fts5 (text, tokenize = '{_TOKENIZER}')")
        except sqlite3.OperationalError as error:
            raise MissingDependencyError(
                "a search by words needs a Python whose SQLite has FTS5; use that of Debian or of python.org"
            ) from error
        self._database.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", enumerate(self.captions))

    def rank(self, words: Iterable[str], *, need_all: bool = False) -> dict[str, float]:
        """The captions with any of the words, or with all of them, and how well each fits.

        The whole part of a rank is how many of the words the caption has, in any inflection; the rest orders captions
        with equally many by BM25.
        """
        counts: dict[int, int] = {}
        terms = [f'"{word}"' for word in words]
        for term in terms:
            for (row,) in self._database.execute("SELECT rowid FROM texts WHERE texts MATCH ?", (term,)):
                counts[row] = counts.get(row, 0) + 1
        best = self._database.execute(
            "SELECT rowid, -bm25(texts) FROM texts WHERE texts MATCH ?", (" OR ".join(terms),)
        )
        return {
            self.captions[row]: counts[row] + max(0.0, fit) / (1.0 + max(0.0, fit))
            for row, fit in best
            if not need_all or counts[row] == len(terms)
        }
