"""Which rows a question is about: time, hours of a day, source, confidence, level, tag."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from edgecap.archive_search.source import SLOT_SECONDS, Source, local_time
from edgecap.errors import ConfigError
from edgecap.util.parsing import parse_duration, within_hours

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_AGO = re.compile(r"\d+[mhdw]")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What rows must satisfy, all of it; every row satisfies the default."""

    since: float | None = None
    """Unix time; a row without a time satisfies neither this nor `until` nor `hours`."""
    until: float | None = None
    """Rows that begin before this Unix time."""
    hours: tuple[int, int] | None = None
    """From one hour of a day to before another, in the local time of this machine; (22, 5) crosses midnight."""
    source: str | None = None
    """A pattern with * and ? for the whole of a source's name."""
    min_confidence: float | None = None
    """Where no confidence is known, the geometric mean of the words' probabilities is compared."""
    min_level: float | None = None
    """dBFS."""
    tag: str | None = None
    silent: bool = True
    """Whether silent windows are among the rows."""

    def sql(self, place: Source) -> tuple[str, list[object]]:
        """The condition on `windows` in SQL, and its values; hours of a day go to the temporary table `slots`.

        Raises ConfigError for a text that no source can hold: bytes of a command line that are not UTF-8.
        """
        for text in filter(None, (self.source, self.tag)):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ConfigError(f"{text!r} is not UTF-8; type the name as edgecap search shows it") from error
        parts, values = ["TRUE"], list[object]()
        for condition, value in (
            ("time >= ?", self.since),
            ("time < ?", self.until),
            ("source GLOB ?", self.source and self.source.replace("[", "[[]")),  # a [ is a sign like others
            ("level >= ?", self.min_level),
            (place.tag_condition, self.tag),
        ):
            if value is not None:
                parts.append(condition)
                values.append(value)
        if self.min_confidence:
            parts.append("CASE WHEN confidence IS NULL THEN score >= ? ELSE confidence >= ? END")
            values += [math.log(self.min_confidence), self.min_confidence]
        if not self.silent:
            parts.append("NOT silent")
        if self.hours is not None:
            condition = " AND ".join(parts)
            slots = place.rows(f"SELECT DISTINCT slot FROM windows WHERE slot IS NOT NULL AND {condition}", values)
            place.put("slots", {"slot": [slot for (slot,) in slots if within_hours(local(slot).hour, self.hours)]})
            parts.append("slot IN (SELECT slot FROM slots)")
        return " AND ".join(parts), values


def local(slot: int) -> datetime:
    """When a quarter of an hour begins, in the local time of this machine."""
    return local_time(slot * SLOT_SECONDS)


def parse_when(text: str, *, end: bool = False, now: float | None = None) -> float:
    """A time as users write it: "2026-11-28", "2026-11-28 15:30", with a zone, or "24h" ago; Unix time.

    Without a zone it is local time. A day alone is its beginning, or with `end` its end. Raises ConfigError.
    """
    text = text.strip()
    try:
        if _AGO.fullmatch(text):
            return (time.time() if now is None else now) - parse_duration(text)
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text) + timedelta(end)
            return datetime.combine(day, datetime.min.time()).timestamp()
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigError(f"invalid time {text!r}; use 2026-11-28, 2026-11-28T15:30, or 24h for a day ago") from error
