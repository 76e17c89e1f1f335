"""Searches of past events: what is asked for, and the answers of a journal, which is opened read-only."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from edgecap.errors import OutputError
from edgecap.live.events.describe import HeardSound
from edgecap.live.events.event import Event
from edgecap.live.events.event_rows import well_formed
from edgecap.util.parsing import parse_hours, within_hours
from edgecap.util.sqlite import read_only

MOST_WORDS = 8
MOST_DAYS = 400
MOST_HOURS = 24 * 31
"""Hours with an event that are counted, the newest."""
MOST_SOURCES = 64
HOUR_OF_DAY = "CAST(strftime('%H', began, 'unixepoch', 'localtime') AS INTEGER)"
_ROWS = well_formed()
SEARCH_SECONDS = 3.0
"""Time that a search of a journal may take."""


@dataclass(frozen=True)
class Query:
    """Which events are wanted; every event matches an empty one."""

    words: tuple[str, ...] = ()
    """In lower case; an event's text has all of them."""
    source: str | None = None
    """Name of the microphone."""
    least_confidence: float = 0.0
    since: float = -math.inf
    before: float = math.inf
    """Events that began in this time, Unix time."""
    hours: tuple[int, int] | None = None
    """Events that began from one hour of a day to before another, here; it may cross midnight, as (22, 6)."""

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Query:
        """From words=, source=, confidence= (0 to 1), day= (as 2026-11-28, here), hours= (as 22-6) and before= (Unix
        time).

        Raises ValueError, ConfigError for hours.
        """
        confidence, before, since = (
            float(fields.get("confidence") or 0),
            float(fields.get("before") or "inf"),
            -math.inf,
        )
        if not 0 <= confidence <= 1 or math.isnan(before):
            raise ValueError("confidence is from 0 to 1, before a Unix time")
        if fields.get("day"):
            day = date.fromisoformat(fields["day"])
            midnights = [datetime.combine(day + timedelta(more), datetime.min.time()).timestamp() for more in (0, 1)]
            since, before = midnights[0], min(before, midnights[1])
        return cls(
            words=tuple(fields.get("words", "").lower().split()[:MOST_WORDS]),
            source=fields.get("source") or None,
            least_confidence=confidence,
            since=since,
            before=before,
            hours=parse_hours(fields["hours"]) if fields.get("hours") else None,
        )

    def matches(self, event: Event) -> bool:
        """Whether an event is one of these."""
        return (
            self.since <= event.began < self.before
            and event.confidence >= self.least_confidence
            and self.source in {None, event.source}
            and all(word in event.text.lower() for word in self.words)
            and (self.hours is None or within_hours(datetime.fromtimestamp(event.began).hour, self.hours))
        )

    def condition(self) -> tuple[str, list[object]]:
        """The same in SQL, and its values."""
        least = self.least_confidence
        parts = ["began >= ?", "began < ?", "CASE WHEN confidence IS NULL THEN score >= ? ELSE confidence >= ? END"]
        values: list[object] = [self.since, self.before, math.log(least) if least else -math.inf, least]
        parts += [r"text LIKE ? ESCAPE '\'"] * len(self.words)
        patterns = [
            "%" + word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%" for word in self.words
        ]
        values += patterns
        if self.source is not None:
            parts.append("source = ?")
            values.append(self.source)
        if self.hours is not None:
            first, last = self.hours
            parts.append(f"({HOUR_OF_DAY} >= ? {'AND' if first < last else 'OR'} {HOUR_OF_DAY} < ?)")
            values += self.hours
        return " AND ".join(parts), values


class EventStore(Protocol):
    """Where past events are looked up."""

    def newest(self, query: Query, most: int) -> list[Event]:
        """The newest of these events, newest first."""

    def next(self, query: Query, most: int, after: Event | None) -> list[Event]:
        """The oldest of these events, oldest first, which follow one that `next` gave."""

    def days(self, query: Query) -> list[tuple[str, int]]:
        """How many of these events began on which day, newest first."""

    def hours(self, query: Query) -> list[tuple[str, int, int]]:
        """Day, hour of the day and how many of these events began in it, for hours with any, newest day first."""

    def sources(self) -> list[str]:
        """Names of the microphones of all events."""


class JournalReader:
    """The events of a journal. All methods raise OutputError; none holds it open or writes to it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def newest(self, query: Query, most: int) -> list[Event]:
        """As `EventStore.newest`."""
        condition, values = query.condition()
        return self._events(f"{condition} ORDER BY began DESC, id DESC LIMIT ?", [*values, most])

    def next(self, query: Query, most: int, after: Event | None) -> list[Event]:
        """As `EventStore.next`."""
        condition, values = query.condition()
        if after is not None:
            condition, values = f"{condition} AND (began, id) > (?, ?)", [*values, after.began, after.id]
        return self._events(f"{condition} ORDER BY began, id LIMIT ?", [*values, most])

    def days(self, query: Query) -> list[tuple[str, int]]:
        """As `EventStore.days`."""
        condition, values = query.condition()
        return self._rows(
            f"SELECT date(began, 'unixepoch', 'localtime') AS day, count(*) FROM events WHERE {_ROWS} AND {condition} "
            "GROUP BY day ORDER BY day DESC LIMIT ?",
            [*values, MOST_DAYS],
        )

    def hours(self, query: Query) -> list[tuple[str, int, int]]:
        """As `EventStore.hours`."""
        condition, values = query.condition()
        return self._rows(
            f"SELECT date(began, 'unixepoch', 'localtime') AS day, {HOUR_OF_DAY} AS hour, count(*) FROM events "
            f"WHERE {_ROWS} AND {condition} GROUP BY day, hour ORDER BY day DESC, hour LIMIT ?",
            [*values, MOST_HOURS],
        )

    def sources(self) -> list[str]:
        """As `EventStore.sources`."""
        return [
            name for (name,) in self._rows(f"SELECT DISTINCT source FROM events WHERE {_ROWS} LIMIT ?", [MOST_SOURCES])
        ]

    def _events(self, condition: str, values: list[object]) -> list[Event]:
        columns = (
            "id, start, stop, began, ended, text, score, level_dbfs, updates, open, source, named, sounds, confidence"
        )
        events = []
        for *row, still_open, source, named, sounds, known in self._rows(
            f"SELECT {columns} FROM events WHERE {_ROWS} AND {condition}", values
        ):
            number, start, stop, began, ended, text, score, level, updates = row
            heard = _heard(sounds, start, stop)
            event = Event(
                number,
                start,
                stop,
                began,
                ended,
                text,
                score,
                level,
                updates,
                bool(still_open),
                source,
                (),
                named,
                heard,
                known,
            )
            events.append(event)
        return events

    def _rows(self, statement: str, values: list[object]) -> list[Any]:
        try:
            with read_only(Path(self._path).expanduser(), SEARCH_SECONDS) as database:
                return database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise OutputError(f"the journal {self._path} cannot be searched ({error}); try again") from error


def _heard(sounds: str, start: float, end: float) -> tuple[HeardSound, ...]:
    """The named sounds in the column `sounds` of an event; none where another program has changed it."""
    try:
        heard = [
            HeardSound(str(each["name"]), str(each["identifier"]), float(each["confidence"]), start, end)
            for each in json.loads(sounds)
        ]
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return ()
    return tuple(sound for sound in heard if math.isfinite(sound.confidence))
