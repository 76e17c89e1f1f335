"""One search: words, a sound, or neither; the rows that fit best."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from edgecap.archive.addresses import local_path, scheme_of
from edgecap.archive_search.conditions import Conditions
from edgecap.archive_search.journal import MAGIC, JournalSource
from edgecap.archive_search.parquet import ArchiveSource
from edgecap.archive_search.source import Hit, Source
from edgecap.archive_search.words import WordIndex, query_words
from edgecap.errors import DataError, reason_of

COLUMNS = "windows.source, start, stop, time, windows.caption, confidence, score, level, tags"
"""What `Hit` is made of, in its order."""
LARGEST = 1e12
"""No number of a row is larger; NaN is not smaller."""
_ORDER = "confidence DESC NULLS LAST, time, windows.source, start"


@dataclass(frozen=True)
class SearchResults:
    """What was found."""

    hits: tuple[Hit, ...]
    """The best, in order."""
    total: int
    """How many rows fit, these among them."""


class Searcher:
    """Searches a source; one for many searches keeps the index of the captions between them."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._index = WordIndex(())

    def newest(self, conditions: Conditions, limit: int) -> SearchResults:
        """The newest rows, those without a time last."""
        condition, values = conditions.sql(self.source)
        ((total,),) = self.source.rows(f"SELECT count(*) FROM windows WHERE {condition}", values)
        order = "time DESC NULLS LAST, windows.source, start"
        statement = f"SELECT {COLUMNS} FROM windows WHERE {condition} ORDER BY {order} LIMIT ?"
        return SearchResults(tuple(map(hit, self.source.rows(statement, [*values, limit]))), total)

    def by_words(self, text: str, conditions: Conditions, limit: int, *, need_all: bool = False) -> SearchResults:
        """The rows whose captions have the most of the words, and the rarest; then the most confident.

        `need_all` leaves out those that lack one. Raises ConfigError where the text has no word.
        """
        condition, values = conditions.sql(self.source)
        total = self.rank(text, condition, values, need_all=need_all)
        if not total:
            return SearchResults((), 0)
        statement = (
            f"SELECT {COLUMNS}, rank FROM windows JOIN ranks ON ranks.caption = windows.caption WHERE {condition} "
            f"ORDER BY rank DESC, {_ORDER} LIMIT ?"
        )
        hits = (hit(row, rank=rank) for *row, rank in self.source.rows(statement, [*values, limit]))
        return SearchResults(tuple(hits), total)

    def rank(self, text: str, condition: str, values: Sequence[object], *, need_all: bool) -> int:
        """Put the captions that fit and their ranks into the table `ranks`; how many rows have one of them."""
        words = query_words(text)
        counts = dict(
            self.source.rows(
                f"SELECT caption, count(*) FROM windows WHERE {condition} GROUP BY caption ORDER BY caption", values
            )
        )
        if self._index.captions != tuple(counts):
            self._index = WordIndex(counts)
        ranks = self._index.rank(words, need_all=need_all)
        if ranks:
            self.source.put("ranks", {"caption": list(ranks), "rank": list(ranks.values())})
        return sum(counts[caption] for caption in ranks)


def hit(row: Sequence[Any], *, rank: float | None = None, similarity: float | None = None) -> Hit:
    """The hit in a row of `COLUMNS`, whoever wrote it: what is no text or no finite number counts as missing."""
    source, start, stop, time, caption, confidence, score, level, tags = row
    return Hit(
        source=_text(source),
        start=_number(start) or 0.0,
        end=_number(stop) or 0.0,
        time=time,
        caption=_text(caption),
        confidence=_number(confidence),
        score=_number(score),
        level=_number(level) or 0.0,
        tags=_tags(tags),
        rank=rank,
        similarity=similarity,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _tags(document: str | None) -> tuple[str, ...]:
    try:
        return tuple(tag for tag in json.loads(document or "[]") or () if isinstance(tag, str))
    except RecursionError:  # SQLite nests deeper than Python
        return ()


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < LARGEST else None


@contextmanager
def open_source(address: str) -> Iterator[Source]:
    """The archive or the journal at an address.

    Raises DataError for what is neither or is damaged, MissingDependencyError for an archive without the extra
    `archive`, OutputError for an address that cannot be reached.
    """
    source = JournalSource(address) if _is_file(address) else ArchiveSource(address)
    try:
        yield source
    finally:
        source.close()


def _is_file(address: str) -> bool:
    """Whether it is a local file, which then is a journal. Raises DataError for another file, and for nothing."""
    if scheme_of(address):
        return False
    path = local_path(address).expanduser()
    try:
        if path.is_dir():
            return False
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise DataError(
            f"{address} cannot be read ({reason_of(error)}); name the folder of an archive, or a journal"
        ) from error
    if head != MAGIC:
        raise DataError(
            f"{address} is neither an archive nor a journal; name the folder that edgecap archive wrote, or the "
            "file of edgecap listen --journal"
        )
    return True
