"""`edgecap summary`: what was heard when, in an archive or a journal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgecap.archive_search.search import open_source
from edgecap.archive_search.source import many, moment
from edgecap.archive_search.summary import HeardSummary, Occurrences, by_day, drawn_days, summarise
from edgecap.cli.archives.options import (
    Archive,
    Hours,
    MinConfidence,
    MinLevel,
    Since,
    SourcePattern,
    Tag,
    Until,
    conditions,
)
from edgecap.cli.console import say, table, write
from edgecap.errors import NoHitsError
from edgecap.util.files import check_writable, to_json, write_atomically


def summary(
    out: Archive,
    *,
    since: Since = None,
    until: Until = None,
    hours: Hours = None,
    source: SourcePattern = None,
    min_confidence: MinConfidence = None,
    min_level: MinLevel = None,
    tag: Tag = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write it as a page.")] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Write the heat map by day and hour as a picture.")
    ] = None,
) -> None:
    """Say what was heard when, in an archive or a journal.

    The journal is that of edgecap listen. Counts by hour and by folder or microphone, the first and the last time of
    each caption and named sound, and the captions heard least often. Hours are those of this machine's time zone.
    Silent windows are left out.

    The exit code is 0, or 14 where nothing was heard.

    \b
    Examples:
      edgecap summary archive --since 2026-11-01 --html november.html --png november.png
      edgecap summary journal.sqlite --since 24h
      edgecap summary archive --source '*/garden/*' --json
    """
    for path in filter(None, (html, png)):
        check_writable(path)
    wanted = conditions(
        since=since,
        until=until,
        hours=hours,
        source=source,
        min_confidence=min_confidence,
        min_level=min_level,
        tag=tag,
        silent=True,
    )
    with open_source(out) as place:
        result = summarise(place, wanted)
    if html is not None:
        from edgecap.archive_search.summary_page import summary_page

        write_atomically(html, summary_page(result, "What was heard when"))
    if png is not None:
        from edgecap.archive_search.heat_png import heat_png

        write_atomically(png, heat_png(result))
    for path in filter(None, (html, png)):
        remark = drawn_days(result)[1]
        say("note", f"written: {path}" + (f", {remark}" if remark else ""))
    if not result.heard:
        raise NoHitsError(
            f"nothing was heard in {out} at these times and places; name a longer time or fewer conditions"
        )
    write(to_json(result.document()) if json else "\n".join(lines(result)))


def lines(result: HeardSummary) -> list[str]:
    """A summary for people."""
    heard = many(result.heard, result.unit)
    text = [f"{heard} heard, {result.silent} silent, {many(result.captions, 'different caption')}"]
    if result.undated:
        text.append(f"{many(result.undated, result.unit)} {'has' if result.undated == 1 else 'have'} no time")
    days = by_day(result)
    if days:
        total = [sum(counts[hour] for counts in days.values()) for hour in range(24)]
        rows = [[f"{hour}-{hour + 1}", str(count)] for hour, count in enumerate(total) if count]
        text += ["", *table(["HOUR", "COUNT"], rows)]
    for name, tallies in (
        ("MICROPHONE" if result.unit == "event" else "FOLDER", result.places),
        ("NAMED SOUND", result.tags),
        ("MOST OFTEN", result.commonest),
        ("LEAST OFTEN", result.rarest),
    ):
        if tallies:
            text += ["", *_table(name, tallies)]
    return text


def _table(name: str, tallies: Sequence[Occurrences]) -> list[str]:
    def when(time: float | None) -> str:
        return "" if time is None else moment(time)[:16].replace("T", " ")

    header = ["COUNT", "FIRST", "LAST", name]
    return table(header, [[str(one.count), when(one.first), when(one.last), one.name] for one in tallies])
