"""Rows of events that anybody may have written: which of them hold what an event holds."""

from __future__ import annotations

from collections.abc import Container

EARLIEST, LATEST = -62_000_000_000, 253_000_000_000
"""Unix times that a calendar of four digits has, years 5 to 9987."""


def well_formed(missing: Container[str] = ()) -> str:
    """SQL for SQLite, whose columns take any value: whether a row of a journal has those of an event.

    `missing` are columns that an older journal lacks.
    """
    numbers = dict.fromkeys(("start", "stop", "score", "level_dbfs", "confidence"), (-(10**12), 10**12))
    numbers |= dict.fromkeys(("began", "ended"), (EARLIEST, LATEST))
    parts = [f"typeof({name}) = 'text'" for name in ("text", "source", "named", "sounds") if name not in missing]
    for name, (least, most) in numbers.items():
        if name not in missing:
            part = f"typeof({name}) IN ('real', 'integer') AND {name} BETWEEN {least} AND {most}"
            parts.append(f"({name} IS NULL OR {part})" if name == "confidence" else part)
    return " AND ".join([*parts, "typeof(updates) = 'integer'"])
