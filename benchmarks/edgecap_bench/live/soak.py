"""A day of listening in an hour: do memory, handles or threads grow, do time stamps drift?

    python -m edgecap_bench.live.soak --speed 20 --hours 24 --json-file benchmarks/results/soak.json

`edgecap listen --stdin` runs as it does from a pipe, with a journal, a table, JSON lines, metrics and the watchdog of
a service, and gets sounds with pauses between them at `--speed` times their pace. What it holds is read from /proc.
Exit code 0 where everything wanted is reached, 1 where something is not.
"""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from edgecap.cli.options import Model
from edgecap.util.files import check_writable
from edgecap_bench.live.soak_listener import SoakListener
from edgecap_bench.live.soak_result import Sample, Soak, Stamp, criteria
from edgecap_bench.live.soak_sound import SoakSound
from edgecap_bench.reports import output
from edgecap_bench.reports.measurement import MeasurementStart, write_measurement
from edgecap_bench.reports.output import Clips, JsonFile

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
    model: Model = None,
    clips: Clips = None,
    json: JsonFile = None,
) -> None:
    """Listen to many hours of sounds and pauses at a multiple of real time, and watch the process meanwhile."""
    if json:
        check_writable(json)
    command = f"python -m edgecap_bench.live.soak --speed {speed:g} --hours {hours:g}"
    start = MeasurementStart(command + (f" --clips {clips.name}" if clips else ""))
    sound = SoakSound(clips)
    samples: list[Sample] = []
    stamps: list[Stamp] = []
    with (
        tempfile.TemporaryDirectory(prefix="edgecap-soak-") as folder,
        SoakListener(Path(folder), rate=sound.rate, speed=speed, model=model) as listener,
    ):

        def so_far() -> Soak:
            stamps.extend(_new_stamps(listener, sound))
            return Soak(
                model=listener.model,
                hours=hours,
                speed=speed,
                samples=list(samples),
                stamps=list(stamps),
                played=len(sound.played),
                events=listener.events,
                beats=listener.beats,
                longest_beat=listener.longest_beat,
                exit_code=listener.exit_code,
                summary=listener.summary,
            )

        for position in listener.feed(sound, seconds=3600.0 * hours, every=every, at_most=at_most and 60.0 * at_most):
            samples.append(listener.sample(position))
            if json and len(samples) % max(1, round(KEEP_EVERY / every)) == 0:
                write_measurement(json, start.end(so_far(), partial=True))
        listener.finish()
        measurement = start.end(so_far(), partial=sound.position < 3600.0 * hours)
    if json:
        write_measurement(json, measurement)
    output.finish(criteria(measurement.body))


def _new_stamps(listener: SoakListener, sound: SoakSound) -> list[Stamp]:
    """Events since the last call that begin where a clip does."""
    stamps = []
    for event in listener.take_events():
        played = sound.clip_at(event["start"])
        if played is not None:
            began = datetime.fromisoformat(event["began"]).timestamp()
            stamps.append(Stamp(played=round(played, 3), start=event["start"], began=began))
    return stamps


if __name__ == "__main__":
    output.run_command(soak)
