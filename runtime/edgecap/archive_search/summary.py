"""What was heard when: counts by hour and place, first and last occurrences, the rarest captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgecap.archive_search.conditions import Conditions, local
from edgecap.archive_search.source import Source, moment

MOST = 20
"""Captions, tags and places that are listed of each kind."""
MOST_DAYS = 400
"""Days that are drawn hour by hour, the newest."""


@dataclass(frozen=True)
class Occurrences:
    """How often something was heard."""

    name: str
    count: int
    first: float | None
    """Unix time; None where no time is known."""
    last: float | None

    def document(self) -> dict[str, object]:
        """For JSON."""
        times = {"first": self.first, "last": self.last}
        return {"name": self.name, "count": self.count} | {
            name: None if time is None else moment(time) for name, time in times.items()
        }


@dataclass(frozen=True)
class HeardSummary:
    """Of the rows of an archive or a journal that fit some conditions; silent windows are only counted."""

    address: str
    unit: str
    """What is counted, in the singular: a window or an event."""
    heard: int
    silent: int
    undated: int
    """Of those heard, without a time."""
    captions: int
    """How many different ones there are."""
    hours: tuple[tuple[str, int, int], ...]
    """Day, hour of the day in local time, and how many, for hours with any; newest day first."""
    places: tuple[Occurrences, ...]
    """Folders of an archive's sources, or a journal's microphones, that with the most first."""
    commonest: tuple[Occurrences, ...]
    rarest: tuple[Occurrences, ...]
    """Captions heard least often, the newest of them first."""
    tags: tuple[Occurrences, ...]

    def document(self) -> dict[str, object]:
        """For JSON."""
        lists = {name: [tally.document() for tally in getattr(self, name)] for name in _LISTS}
        hours = [{"day": day, "hour": hour, "count": count} for day, hour, count in self.hours]
        totals = {name: getattr(self, name) for name in ("heard", "silent", "undated", "captions")}
        return {"archive": self.address, "unit": self.unit, **totals, "hours": hours, **lists}


_LISTS = ("places", "commonest", "rarest", "tags")


def summarise(source: Source, conditions: Conditions) -> HeardSummary:
    """The summary of a source. Raises DataError for one that is damaged."""
    condition, values = conditions.sql(source)
    ((silent,),) = source.rows(f"SELECT count(*) FROM windows WHERE {condition} AND silent", values)
    condition, values = replace(conditions, silent=False).sql(source)
    slots = source.rows(f"SELECT slot, count(*) FROM windows WHERE {condition} GROUP BY slot", values)
    hours = Counter[tuple[str, int]]()
    for slot, count in slots:
        if slot is not None:
            when = local(slot)
            hours[when.date().isoformat(), when.hour] += count
    days = sorted({day for day, _ in hours}, reverse=True)

    def tallies(name: str, rows: str) -> list[Occurrences]:
        statement = f"SELECT {name}, count(*), min(time), max(time) FROM {rows} WHERE {condition} GROUP BY {name}"
        return sorted(
            (Occurrences(str(name or ""), *row) for name, *row in source.rows(statement, values)),
            key=lambda one: (-one.count, one.name),
        )

    captions = tallies("caption", "windows")
    return HeardSummary(
        address=source.address,
        unit=source.unit,
        heard=sum(count for _, count in slots),
        silent=int(silent),
        undated=sum(count for slot, count in slots if slot is None),
        captions=len(captions),
        hours=tuple((day, hour, hours[day, hour]) for day in days for hour in range(24) if hours[day, hour]),
        places=_first(tallies("place", "windows")),
        commonest=_first(captions),
        rarest=_first(sorted(captions, key=_rare_first)),
        tags=_first(tallies("tag", source.tag_rows)),
    )


def _rare_first(one: Occurrences) -> tuple[int, float, str]:
    return one.count, -(one.last or 0.0), one.name


def _first(tallies: Sequence[Occurrences]) -> tuple[Occurrences, ...]:
    return tuple(tallies[:MOST])


def shade(count: int, most: int) -> int:
    """How dark an hour is shown, 0 for none to 4, by the logarithm of its count."""
    from math import ceil, log1p

    return 0 if not count else max(1, ceil(4 * log1p(count) / log1p(most)))


def by_day(summary: HeardSummary) -> dict[str, list[int]]:
    """Counts of the 24 hours of each day with any, newest day first."""
    days: dict[str, list[int]] = {}
    for day, hour, count in summary.hours:
        days.setdefault(day, [0] * 24)[hour] = count
    return days


def drawn_days(summary: HeardSummary) -> tuple[dict[str, list[int]], str]:
    """What a page or a picture has of `by_day`, the newest days, and a remark where that is not all."""
    days = by_day(summary)
    newest = dict(list(days.items())[:MOST_DAYS])
    return newest, f"the newest {MOST_DAYS} of {len(days)} days" if len(days) > len(newest) else ""
