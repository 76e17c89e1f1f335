"""Hours of listening in real time: two microphones, page, journal, table, broker, webhook and program, with faults.

    python -m edgecap_bench.faults.soak --hours 6 --json-file benchmarks/results/fault-soak.json

In real time; the accelerated one is `edgecap_bench.live.soak`. The result so far is written after each fault, marked as
partial, and whole at the end, which SIGINT and SIGTERM bring about early. A listener that ends is started again, as
systemd does, and counted. Exit code 0 where everything wanted is reached, else 1.
"""

from __future__ import annotations

import random
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from shutil import which
from typing import Annotated, ClassVar

import typer

from edgecap.cli.console import say
from edgecap.cli.options import Model
from edgecap.errors import MeasurementError
from edgecap.util.files import check_writable
from edgecap_bench.faults.disk import NotPossibleError, SmallDisk
from edgecap_bench.faults.faults import PATIENCE, once
from edgecap_bench.faults.kinds import FAULTS
from edgecap_bench.faults.result import BACK_SECONDS, FaultResult, Round, load_note
from edgecap_bench.faults.rig import Rig
from edgecap_bench.harness.load import LoadMeter
from edgecap_bench.live.soak_listener import sample_of
from edgecap_bench.live.soak_result import WARM_UP, Sample, slope
from edgecap_bench.reports import output
from edgecap_bench.reports.measurement import Measurement, MeasurementStart, write_measurement
from edgecap_bench.reports.output import JsonFile
from edgecap_bench.reports.tables import CRITERIA_HEADER, Criterion, Page, Sheet, measured_page

MICROPHONES = 2
PAUSE, EVERY = 20.0, 60.0
"""Seconds between two faults, and between two samples."""
MOST_GROWTH = 0.5e6
"""Bytes an hour."""
DEAF = Round(survived=False, lost=0, doubled=0, misdated=0, reported=False, ended=False, back=None)
"""A round that was never begun, since no event came before it."""
ONE_PROCESS = [fault for fault in FAULTS if not (fault.ends or fault.may_end)]
"""The faults that the process itself survives: memory is that of one process."""


@dataclass(frozen=True, kw_only=True)
class FaultSoak:
    """One run."""

    FORMAT: ClassVar[str] = "edgecap-bench-fault-soak"
    VERSION: ClassVar[int] = 1

    hours: float
    """Of real time."""
    samples: list[Sample]
    faults: list[FaultResult]
    events: int
    """Announced."""
    summary: str
    """The listener's last line."""
    others: float | None
    """Cores that other programs took meanwhile."""
    restarts: list[float] = field(default_factory=list)
    """When the listener had ended and was started again, seconds from the beginning."""

    @property
    def longest(self) -> list[Sample]:
        """Samples of the process that ran longest, without its warm-up."""
        ends = [0.0, *self.restarts, float("inf")]
        begin, end = max(pairwise(ends), key=lambda ends: min(ends[1], self.samples[-1].sound_seconds) - ends[0])
        own = [sample for sample in self.samples if begin <= sample.sound_seconds < end]
        warm = begin + WARM_UP * (own[-1].sound_seconds - begin) if own else begin
        return [sample for sample in own if sample.sound_seconds >= warm] or self.samples


class SoakRun:
    """One run of a listener, with a fault now and then."""

    def __init__(self, seed: int, stop: threading.Event) -> None:
        self._source, self._stop, self._meter = random.Random(seed), stop, LoadMeter()
        self._samples, self._restarts = list[Sample](), list[float]()
        self._rounds: dict[str, list[Round]] = {fault.name: [] for fault in ONE_PROCESS}
        self._left_out: dict[str, str] = {}
        self._events, self._summary = 0, "it did not end"

    def run(self, hours: float, model: str | None, keep: Callable[[FaultSoak], None]) -> FaultSoak:
        """Listen for so long, or until `stop`; `keep` gets what was measured so far. Raises MeasurementError."""
        with (
            tempfile.TemporaryDirectory(prefix="edgecap-soak-") as folder,
            SmallDisk(Path(folder)) as disk,
            Rig(Path(folder), disk, microphones=MICROPHONES, own_clock=which("cc") is not None, model=model) as rig,
        ):
            rig.wait_for_event(PATIENCE)
            rig.open_page()
            pid, began = rig.process.pid, time.monotonic()
            while (now := time.monotonic()) - began < 3600.0 * hours and not self._stop.is_set():
                if not self._samples or now - began - self._samples[-1].sound_seconds >= EVERY:
                    self._samples.append(sample_of(rig.process.pid, now - began))
                self._round(rig, (now - began) / 3600)
                if rig.process.pid != pid:
                    pid = rig.process.pid
                    self._restarts.append(time.monotonic() - began)
                    with suppress(MeasurementError):
                        rig.open_page()
                self._events = rig.record.count
                keep(self._result())
                self._stop.wait(PAUSE)
            self._samples.append(sample_of(rig.process.pid, time.monotonic() - began))
            rig.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                rig.process.wait(PATIENCE)
            self._summary = next((text for text in reversed(rig.messages) if "stopped after" in text), self._summary)
            self._events = rig.record.count
        return self._result()

    def _round(self, rig: Rig, hours: float) -> None:
        fault = self._source.choice([fault for fault in ONE_PROCESS if fault.name not in self._left_out])
        say("note", f"{hours:.2f} h: {fault.name}")
        try:
            self._rounds[fault.name].append(once(rig, fault, self._source))
        except NotPossibleError as error:
            self._left_out[fault.name] = str(error)
        except MeasurementError as error:  # hours are not thrown away for it
            say("warning", f"before {fault.name}: {error}")
            self._rounds[fault.name].append(DEAF)
            if rig.process.poll() is not None:
                rig.start()

    def _result(self) -> FaultSoak:
        results = [
            FaultResult(
                name=fault.name,
                rounds=self._rounds[fault.name],
                says=fault.says,
                skipped=self._left_out.get(fault.name, ""),
            )
            for fault in ONE_PROCESS
        ]
        return FaultSoak(
            hours=round(self._samples[-1].sound_seconds / 3600, 2),
            samples=self._samples,
            faults=results,
            events=self._events,
            summary=self._summary,
            others=self._meter.others(),
            restarts=self._restarts,
        )


def soak(
    *,
    hours: Annotated[float, typer.Option("--hours", min=0.01, metavar="H")] = 6.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the faults and their moments.")] = 0,
    model: Model = None,
    json: JsonFile = None,
) -> None:
    """Listen in real time while faults come and go, and watch memory, handles, threads and events."""
    if json:
        check_writable(json)
    start = MeasurementStart(f"python -m edgecap_bench.faults.soak --hours {hours:g}")

    def keep(result: FaultSoak, *, partial: bool = True) -> None:
        if json:
            write_measurement(json, start.end(result, partial=partial))

    with stopping() as stop:
        result = SoakRun(seed, stop).run(hours, model, keep)
    keep(result, partial=stop.is_set())
    output.finish(criteria(result))


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, so that what was measured is kept."""
    stop, numbers = threading.Event(), (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def criteria(result: FaultSoak) -> list[Criterion]:
    """What is wanted, and whether it is so."""
    warm, rounds = result.longest, [each for fault in result.faults for each in fault.rounds]
    growth, later = _growth(warm), _growth(warm[len(warm) // 2 :])
    handles, threads = [sample.handles for sample in warm], [sample.threads for sample in warm]
    survived, late = sum(each.survived for each in rounds), sum(fault.late for fault in result.faults)
    lost, doubled = sum(each.lost for each in rounds), sum(each.doubled for each in rounds)
    reported = sum(each.reported for each in rounds)
    return [
        Criterion(
            "resident memory", f"{growth / 1e6:+.3f} MB an hour", "at most 0.5 MB an hour", growth <= MOST_GROWTH
        ),
        Criterion("its second half", f"{later / 1e6:+.3f} MB an hour", "", True),
        Criterion("started again", f"{len(result.restarts)} times", "never", not result.restarts),
        Criterion("open handles", f"{min(handles)} to {max(handles)}", "", True),
        Criterion("threads", f"{min(threads)} to {max(threads)}", "", True),
        Criterion("faults survived", f"{survived} of {len(rounds)}", "all", survived == len(rounds)),
        Criterion("announced events", f"{lost} lost, {doubled} doubled", "none", not lost + doubled),
        Criterion("back by itself", f"{late} of {len(rounds)} later than {BACK_SECONDS:g} s", "", True),
        Criterion("reported", f"{reported} of {len(rounds)}", "all", reported == len(rounds)),
    ]


def _growth(samples: Sequence[Sample]) -> float:
    """Bytes an hour."""
    return slope([(sample.sound_seconds / 3600, sample.resident_bytes) for sample in samples])


def soak_page(measurement: Measurement[FaultSoak]) -> Page:
    """The run for people."""
    result = measurement.body
    first, last = result.samples[0], result.samples[-1]
    names = ", ".join(f"{fault.name} ({len(fault.rounds)})" for fault in result.faults if fault.rounds)
    return measured_page(
        measurement.header,
        f"Soak with faults: {result.hours:g} hours of real time",
        [Sheet("", CRITERIA_HEADER, [each.row for each in criteria(result)])],
        notes=[
            f"{MICROPHONES} microphones, a page that is read, journal, table, broker, webhook and program; "
            f"{result.events} events; a sound every 12 s, so the next event may take that long. Faults: {names}.",
            f"Resident memory {first.resident_bytes / 1e6:.0f} MB in the first sample, "
            f"{last.resident_bytes / 1e6:.0f} MB in the last; the first {WARM_UP:.0%} are left out as warm-up.",
            f"The listener's summary: {result.summary.partition('note: ')[2] or result.summary}",
            load_note(result.others),
        ],
    )


if __name__ == "__main__":
    output.run_command(soak)
