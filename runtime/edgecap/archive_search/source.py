"""What is searched: rows of captions, in an archive's Parquet files or in a listener's journal, through one table.

Both answer SQL about the table `windows`, in what DuckDB and SQLite have in common:

    source TEXT, start, stop (seconds of the source), time (Unix time or null), slot (quarters of an hour since 1970 or
    null), place TEXT (folder of a file, tar file of its member, microphone), caption TEXT, confidence, score (or null),
    level (dBFS), silent, tags (a JSON list of texts)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

SLOT_SECONDS = 900
"""Zones differ by multiples of it, so that hours of a day can be told from `slot` alone."""


class Source(Protocol):
    """An archive or a journal, opened to be read. All methods raise DataError for one that is damaged."""

    address: str
    """As given."""
    unit: str
    """What a row is, in the singular: a window or an event."""
    tag_condition: str
    """SQL: whether a row has the tag ?."""
    tag_rows: str
    """SQL, to select from: a row of `windows` for each of its tags, with the column `tag`."""

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """The answer to a statement, a tuple a row."""
        ...

    def put(self, table: str, columns: Mapping[str, Sequence[object]]) -> None:
        """Make or replace a temporary table."""
        ...

    def close(self) -> None:
        """Let go of its files."""
        ...


@dataclass(frozen=True)
class Hit:
    """A row that was found."""

    source: str
    start: float
    """Seconds from the beginning of the source."""
    end: float
    time: float | None
    """Unix time of the start; None where it is not known."""
    caption: str
    confidence: float | None
    score: float | None
    """Mean log-probability of the words; None for a silent window."""
    level: float
    """dBFS."""
    tags: tuple[str, ...]
    rank: float | None = None
    """By words: `WordIndex.rank`."""
    similarity: float | None = None
    """By sound: cosine of the embeddings, -1 to 1."""

    def document(self) -> dict[str, object]:
        """For JSON."""
        rounded: dict[str, object] = {"start": round(self.start, 3), "end": round(self.end, 3)}
        for name, digits in (("confidence", 4), ("score", 4), ("rank", 4), ("similarity", 4)):
            value = getattr(self, name)
            rounded[name] = None if value is None else round(value, digits)
        when = None if self.time is None else moment(self.time)
        found_in = {"source": self.source, "time": when, "caption": self.caption}
        return {**found_in, **rounded, "level": round(self.level, 1), "tags": list(self.tags)}


def local_time(unix: float) -> datetime:
    """Unix time in local time with its offset; in UTC at the ends of the calendar, where the zone has no such year."""
    try:
        return datetime.fromtimestamp(unix).astimezone()
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(unix, UTC)


def moment(unix: float) -> str:
    """Unix time as ISO 8601 in local time with its offset, to seconds."""
    return local_time(unix).isoformat(timespec="seconds")


def many(count: int, what: str) -> str:
    """As "1 window" and "2 windows"."""
    return f"{count} {what}{'' if count == 1 else 's'}"
