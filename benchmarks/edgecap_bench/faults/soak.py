"""Hours of listening in real time: two microphones, page, journal, table, broker, webhook and program, with faults.

    python -m edgecap_bench.faults.soak --hours 6

In real time; the accelerated one is `edgecap_bench.live.soak`. Exit code 0 where everything wanted is reached, else 1.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from edgecap.cli.console import say
from edgecap.cli.options import Model
from edgecap_bench.faults.faults import FAULTS, MICROPHONE_FAULTS, PATIENCE, Tally, kill, once, small_disk, tear
from edgecap_bench.faults.rig import Rig
from edgecap_bench.live.soak_listener import sample_of
from edgecap_bench.live.soak_result import WARM_UP, Sample, slope
from edgecap_bench.reports import output
from edgecap_bench.reports.tables import Criterion

MICROPHONES = 2
PAUSE, EVERY = 20.0, 60.0
"""Seconds between two faults, and between two samples."""
MOST_GROWTH = 0.5e6
"""Bytes an hour."""
ONE_PROCESS = [fault for fault in (*FAULTS, *MICROPHONE_FAULTS) if fault.inject not in (kill, tear)]
"""The faults that the process itself survives: memory is that of one process."""


def soak(
    *,
    hours: Annotated[float, typer.Option("--hours", min=0.01, metavar="H")] = 6.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the faults and their moments.")] = 0,
    model: Model = None,
) -> None:
    """Listen in real time while faults come and go, and watch memory, handles, threads and events."""
    source, tally, samples = random.Random(seed), Tally(), list[Sample]()
    with (
        tempfile.TemporaryDirectory(prefix="edgecap-soak-") as folder,
        small_disk(Path(folder)) as disk,
        Rig(Path(folder), disk, microphones=MICROPHONES, model=model) as rig,
    ):
        rig.wait_for_event(PATIENCE)
        rig.open_page()
        began = sampled = time.monotonic()
        while (now := time.monotonic()) - began < 3600.0 * hours:
            if now - sampled >= EVERY or not samples:
                samples.append(sample_of(rig.process.pid, now - began))
                sampled = now
            fault = source.choice(ONE_PROCESS)
            say("note", f"{(now - began) / 3600:.2f} h: {fault.name}")
            once(rig, fault, source, tally)
            time.sleep(PAUSE)
        samples.append(sample_of(rig.process.pid, time.monotonic() - began))
    output.finish(criteria(samples, tally))


def criteria(samples: list[Sample], tally: Tally) -> list[Criterion]:
    """What is wanted, and whether it is so."""
    warm = [sample for sample in samples if sample.sound_seconds >= WARM_UP * samples[-1].sound_seconds]
    growth = slope([(sample.sound_seconds / 3600, sample.resident_bytes) for sample in warm])
    late = sum(seconds > 5.0 for seconds in tally.back)
    handles, threads = [sample.handles for sample in warm], [sample.threads for sample in warm]
    return [
        Criterion(
            "resident memory", f"{growth / 1e6:+.3f} MB an hour", "at most 0.5 MB an hour", growth <= MOST_GROWTH
        ),
        Criterion("open handles", f"{min(handles)} to {max(handles)}", "", True),
        Criterion("threads", f"{min(threads)} to {max(threads)}", "", True),
        Criterion("faults survived", f"{tally.survived} of {tally.rounds}", "all", tally.survived == tally.rounds),
        Criterion(
            "announced events", f"{tally.lost} lost, {tally.doubled} doubled", "none", not tally.lost + tally.doubled
        ),
        Criterion("back by itself", f"{late} of {len(tally.back)} later than 5 s", "none", not late),
    ]


if __name__ == "__main__":
    output.run_command(soak)
