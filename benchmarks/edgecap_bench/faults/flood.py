"""A flood of the live page: how much later is a caption, and is an event lost?

    python -m edgecap_bench.faults.flood --minutes 10 --json-file benchmarks/results/flood.json

A listener with a page hears sounds, in turns with and without 200 visitors that never end their request and 2,000
requests a second. Exit code 0 where everything wanted is reached, 1 where something is not.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

import numpy as np
import typer

from edgecap.cli.options import Model
from edgecap.errors import MeasurementError
from edgecap.util.files import check_writable
from edgecap_bench.faults.disk import SmallDisk
from edgecap_bench.faults.result import load_note
from edgecap_bench.faults.rig import SPEED, Rig
from edgecap_bench.harness.load import LoadMeter
from edgecap_bench.reports import output
from edgecap_bench.reports.measurement import Measurement, MeasurementStart, write_measurement
from edgecap_bench.reports.output import JsonFile
from edgecap_bench.reports.tables import CRITERIA_HEADER, Criterion, Page, Sheet, measured_page

SLOW, RATE = 200, 2_000
PHASE_SECONDS, PATIENCE = 30.0, 60.0
QUIET_SECONDS, CLOSE_AFTER = 2.0, 1.0
MOST_DELAY = 0.05
"""Seconds later than the median without a flood, that 99 of 100 captions keep within."""


Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Flood:
    """One run."""

    FORMAT: ClassVar[str] = "edgecap-bench-flood"
    VERSION: ClassVar[int] = 1

    calm: list[float]
    """Seconds from the beginning of each sound to its event, without visitors."""
    flooded: list[float]
    """The same with them."""
    seconds: float
    """Time of the flood."""
    begun: int
    """Requests that were begun."""
    answered: int
    lost: int
    """Announced events that journal or table lack."""
    doubled: int
    others: float | None
    """Cores that other programs took, the visitors among them; None where that is not known."""


def measure(minutes: float, model: str | None) -> Flood:
    """Listen for some minutes, flooded every second half minute. Raises MeasurementError."""
    meter, calm, flooded, begun, answered = LoadMeter(), list[float](), list[float](), 0, 0
    phases = max(1, round(30.0 * minutes / PHASE_SECONDS))
    with (
        tempfile.TemporaryDirectory(prefix="edgecap-flood-") as folder,
        SmallDisk(Path(folder)) as disk,
        Rig(Path(folder), disk, model=model, quiet=QUIET_SECONDS, close_after=CLOSE_AFTER) as rig,
    ):
        rig.wait_for_event(PATIENCE)
        time.sleep(PHASE_SECONDS)  # what came before the model was loaded is caught up with
        for _ in range(phases):
            calm += _delays(rig, lambda: time.sleep(PHASE_SECONDS))[0]
            delays, counts = _delays(rig, partial(_visit, rig.page_port))
            flooded, begun, answered = flooded + delays, begun + counts[0], answered + counts[1]
        rig.wait_for_event(PATIENCE)
        lost, doubled = len(rig.record.lost()), rig.record.doubled()
    if not calm or not flooded:
        raise MeasurementError("too few events came; use more minutes")
    return Flood(
        calm=[round(each, 4) for each in calm],
        flooded=[round(each, 4) for each in flooded],
        seconds=phases * PHASE_SECONDS,
        begun=begun,
        answered=answered,
        lost=lost,
        doubled=doubled,
        others=meter.others(),
    )


def _delays(rig: Rig, work: Callable[[], Answer]) -> tuple[list[float], Answer]:
    """Seconds from each sound to its event, of the events that are announced during some work; and what that gives."""
    before = rig.record.count
    answer = work()
    with rig.record.changed:
        arrived = rig.record.arrived[before:]
    return [when - (rig.began + start / SPEED) for start, when in arrived], answer


def _visit(port: int) -> tuple[int, int]:
    """Flood for a phase; requests begun and answered."""
    command = [sys.executable, "-m", "edgecap_bench.faults.flood_visitors"]
    arguments = [str(port), str(PHASE_SECONDS), str(SLOW), str(RATE)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True, timeout=10 * PATIENCE)
    begun, answered = map(int, done.stdout.split())
    return begun, answered


def criteria(result: Flood) -> list[Criterion]:
    """What is wanted, and whether it is so."""
    usual = float(np.median(result.calm))
    later = [float(value) - usual for value in np.percentile(result.flooded, [50, 99])]
    calm = float(np.percentile(result.calm, 99)) - usual
    rate, answered = result.begun / result.seconds, result.answered / max(1, result.begun)
    return [
        Criterion(
            "captions later in a flood",
            f"{1000 * later[0]:.0f} ms in the median, 99 of 100 within {1000 * later[1]:.0f} ms "
            f"(without a flood {1000 * calm:.0f} ms)",
            f"99 of 100 within {1000 * MOST_DELAY:g} ms",
            later[1] <= MOST_DELAY,
            f"{len(result.flooded)} events, {len(result.calm)} without a flood",
        ),
        Criterion("events", f"{result.lost} lost, {result.doubled} doubled", "none", not result.lost + result.doubled),
        Criterion("requests", f"{rate:.0f} a second begun, {100 * answered:.0f} % answered", "", True),
    ]


def flood_page(measurement: Measurement[Flood]) -> Page:
    """The figures for people."""
    result = measurement.body
    return measured_page(
        measurement.header,
        "A flood of the live page",
        [Sheet("", CRITERIA_HEADER, [each.row for each in criteria(result)])],
        notes=[
            f"{SLOW} visitors that never end their request and {RATE:,} requests a second, from a process on the same "
            f"machine, for {result.seconds:.0f} s in turns of {PHASE_SECONDS:.0f} s; {len(result.flooded)} events with "
            f"and {len(result.calm)} without a flood, four times as fast as time.",
            load_note(result.others),
        ],
    )


def flood(
    *,
    minutes: Annotated[float, typer.Option("--minutes", min=0.1, metavar="M")] = 10.0,
    model: Model = None,
    json: JsonFile = None,
) -> None:
    """Flood the live page of a running listener, and measure how much later its captions come."""
    if json:
        check_writable(json)
    start = MeasurementStart(f"python -m edgecap_bench.faults.flood --minutes {minutes:g}")
    measurement = start.end(measure(minutes, model))
    if json:
        write_measurement(json, measurement)
    output.finish(criteria(measurement.body))


if __name__ == "__main__":
    output.run_command(flood)
