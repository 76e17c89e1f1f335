"""A day of listening in an hour: does memory grow, are handles or threads left behind, do time stamps drift?

    python -m edgecap_bench.live.soak --speed 20 --hours 24 --json benchmarks/results/soak.json

`edgecap listen --stdin` runs as it does from a pipe, with a journal, a table, JSON lines, metrics and the watchdog of
a service, and is fed sounds with pauses between them at `--speed` times their pace. The kernel says what it holds.
Exit code 0 where all wishes are kept, 1 where one is not.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from edgecap.cli.console import say
from edgecap.errors import EdgecapError
from edgecap.util.files import check_writable
from edgecap_bench.harness.machine import now, this_machine, versions
from edgecap_bench.live.soak_listener import SoakListener
from edgecap_bench.live.soak_result import FORMAT, FORMAT_VERSION, Sample, SoakResult, Stamp, figures, rows, write_soak
from edgecap_bench.live.soak_sound import Day

KEEP_EVERY = 300.0
"""Seconds after which what is known so far is written, as partial."""


def soak(
    *,
    hours: Annotated[float, typer.Option("--hours", min=0.01, metavar="H", help="Hours of sound.")] = 24.0,
    speed: Annotated[float, typer.Option("--speed", min=1, metavar="X", help="Times real time.")] = 20.0,
    at_most: Annotated[
        float | None, typer.Option("--at-most", metavar="MINUTES", help="End after so long, even on a slow machine.")
    ] = None,
    every: Annotated[float, typer.Option("--every", min=0.1, metavar="SECONDS", help="Between two samples.")] = 20.0,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME|FOLDER", help="Model to listen with.")] = None,
    clips: Annotated[
        Path | None, typer.Option("--clips", metavar="FOLDER", help="Sounds to play. [default: made ones]")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result to FILE.")] = None,
) -> None:
    """Listen to many hours of sounds and pauses at a multiple of real time, and watch the process meanwhile."""
    if json:
        check_writable(json)
    command = f"python -m edgecap_bench.live.soak --speed {speed:g} --hours {hours:g}"
    command += f" --clips {clips.name}" if clips else ""
    head: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "command": command,
        "speed": speed,
        "hours": hours,
        "date": now(),
        "machine": this_machine(),
        "versions": versions(),
    }
    day = Day(clips)
    stamps: list[Stamp] = []
    with (
        tempfile.TemporaryDirectory(prefix="edgecap-soak-") as folder,
        SoakListener(Path(folder), rate=day.rate, speed=speed, model=model) as listener,
    ):
        samples: list[Sample] = []
        for heard in listener.feed(day, seconds=3600.0 * hours, every=every, at_most=at_most and 60.0 * at_most):
            samples.append(listener.sample(heard))
            if json and len(samples) % max(1, round(KEEP_EVERY / every)) == 0:
                write_soak(json, _result(head, listener, samples, day, stamps, partial=True))
        listener.finish()
        short = day.heard < 3600.0 * hours
        result = _result(head, listener, samples, day, stamps, partial=short)
    if json:
        write_soak(json, result)
    for row in rows(result):
        sys.stdout.write("  ".join(row) + "\n")
    if not all(figure.kept for figure in figures(result)):
        raise typer.Exit(1)


def _result(
    head: dict[str, Any], listener: SoakListener, samples: list[Sample], day: Day, stamps: list[Stamp], *, partial: bool
) -> SoakResult:
    """What is known so far; `stamps` gets what is new."""
    for event in listener.take_events():
        played = day.began(event["start"])
        if played is not None:
            began = datetime.fromisoformat(event["began"]).timestamp()
            stamps.append(Stamp(played=round(played, 3), start=event["start"], began=began))
    return SoakResult(
        **head,
        model=listener.model,
        samples=list(samples),
        stamps=list(stamps),
        played=len(day.played),
        events=listener.events,
        beats=listener.beats,
        longest_beat=listener.longest_beat,
        exit_code=listener.exit_code,
        last_words=listener.last_words,
        partial=partial,
    )


def main() -> None:
    """Run it."""
    try:
        typer.run(soak)
    except EdgecapError as error:
        say("error", str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
