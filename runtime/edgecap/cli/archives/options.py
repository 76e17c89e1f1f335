"""Options that `edgecap search` and `edgecap summary` share."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecap.archive_search.conditions import Conditions, parse_when
from edgecap.errors import ConfigError
from edgecap.util.parsing import parse_hours

Archive = Annotated[
    str, typer.Argument(metavar="OUT", help="Folder or address of an archive, or the journal of edgecap listen.")
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="As 2026-11-28, 2026-11-28T15:30, or 24h for a day ago.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="The same; a day alone is included.")]
Hours = Annotated[
    str | None, typer.Option("--hours", metavar="H-H", help="Hours of the day here, as 22-5: from ten to before five.")
]
SourcePattern = Annotated[
    str | None, typer.Option("--source", metavar="GLOB", help="Sources with this name, as '*/garden/*' or 'Kitchen'.")
]
MinConfidence = Annotated[
    float | None, typer.Option("--min-confidence", metavar="P", min=0.0, max=1.0, help="Captions at least this sure.")
]
MinLevel = Annotated[float | None, typer.Option("--min-level", metavar="DBFS", help="Sounds at least this loud.")]
Tag = Annotated[
    str | None, typer.Option("--tag", metavar="NAME", help="With this taught or built-in sound, as 'smoke alarm'.")
]


def conditions(
    *,
    since: str | None,
    until: str | None,
    hours: str | None,
    source: str | None,
    min_confidence: float | None,
    min_level: float | None,
    tag: str | None,
    silent: bool,
) -> Conditions:
    """What the options ask for. Raises ConfigError."""
    begin = None if since is None else parse_when(since)
    end = None if until is None else parse_when(until, end=True)
    if begin is not None and end is not None and begin >= end:
        raise ConfigError(f"--since {since} is not before --until {until}; exchange them")
    return Conditions(
        since=begin,
        until=end,
        hours=None if hours is None else parse_hours(hours),
        source=source,
        min_confidence=min_confidence,
        min_level=min_level,
        tag=tag,
        silent=silent,
    )
