"""Faults at random moments of a listener: is an announced event lost or doubled, is it back soon, does it say why?

    python -m edgecap_bench.faults.faults --rounds 100 --jobs 8            a table; about an hour
    python -m edgecap_bench.faults.faults --rounds 5 --only "kill -9"

As root on Linux all faults can be made; some need mosquitto, PulseAudio, a C compiler or e2fsprogs. One that cannot be
made is left out, and the reason is told. Exit code 0 where every round was survived, else 1.
"""

from __future__ import annotations

import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from edgecap.cli.console import say
from edgecap.cli.options import Model
from edgecap.errors import EdgecapError, MeasurementError
from edgecap.util.files import check_writable
from edgecap_bench.faults.disk import NotPossibleError, SmallDisk
from edgecap_bench.faults.kinds import FAULTS, Fault, nothing
from edgecap_bench.faults.result import FaultResult, Faults, Round, criteria
from edgecap_bench.faults.rig import Rig
from edgecap_bench.harness.load import LoadMeter
from edgecap_bench.reports import output
from edgecap_bench.reports.measurement import MeasurementStart, write_measurement
from edgecap_bench.reports.output import JsonFile

PATIENCE = 30.0
SHORTEST, LONGEST = 0.2, 3.0
"""Seconds that a fault lasts; longer, where the listener has yet to say what it must."""
QUIET_SECONDS, CLOSE_AFTER = 2.0, 1.0
"""Of a microphone, which hears in real time: a sound every 5 s, so that what is measured is not the wait for one."""
OF_ONE_DISK = 10
"""Rounds with the same listener and disk: a journal rotated in each would fill it, and end who reads there (SIGBUS)."""
MOST_FAILURES = 3
"""Times that no event comes to begin a round with, after which a fault is given up."""


def once(rig: Rig, fault: Fault, source: random.Random, patience: float = PATIENCE) -> Round:
    """One round, and what became of it; given up after `patience` seconds.

    Raises NotPossibleError, and MeasurementError where no event comes before the fault.
    """
    rig.wait_for_event(patience)
    time.sleep(source.uniform(0.0, 1.5))
    line = len(rig.messages) if fault.each_time else 0
    seconds, table = source.uniform(SHORTEST, LONGEST), fault.keeps_table
    began = time.monotonic()
    mend = fault.inject(rig, source)

    def said() -> bool:
        return not fault.says or any(fault.says in text for text in rig.messages[line:])

    try:
        time.sleep(seconds)
        while not said() and rig.process.poll() is None and time.monotonic() - began < patience:
            time.sleep(0.05)  # an output fails only when it gets an event
        unneeded = fault.if_refused and not rig.record.lost(table=table)
    finally:
        mend()
    mended, ended = time.monotonic(), rig.process.poll() is not None
    if ended:
        say("warning", f"{fault.name}: the listener ended ({rig.process.poll()}): {' / '.join(rig.messages[-3:])}")
        rig.start()
    back: float | None = None
    with suppress(MeasurementError):
        rig.wait_for_event(patience)
        back = time.monotonic() - mended
    while (lost := rig.record.lost(table=table)) and time.monotonic() - mended < patience:
        time.sleep(0.05)
        back = back and time.monotonic() - mended
    doubled, misdated = rig.record.doubled(table=table), rig.record.misdated() if fault.own_clock else 0
    rig.record.forget()
    good = not (lost or doubled or misdated or (ended and not fault.may_end)) and back is not None
    return Round(
        survived=good and rig.process.poll() is None,
        lost=len(lost),
        doubled=doubled,
        misdated=misdated,
        reported=said() or unneeded,
        ended=ended,
        back=back,
    )


class Campaign:
    """Rounds of many faults, several listeners side by side, until all are done or `stop` is set."""

    def __init__(
        self, rounds: int, seed: int, patience: float, model: str | None, keep: Callable[[], None] = nothing
    ) -> None:
        """`keep` is called after each round, from the thread that made it, and with `lock` held."""
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.results: dict[str, FaultResult] = {}
        """Of each fault that was begun, what is known so far."""
        self._rounds, self._seed, self._patience, self._model = rounds, seed, patience, model
        self._keep = keep

    def run(self, fault: Fault) -> FaultResult:
        """All rounds of one fault with a listener of its own."""
        source, rounds = random.Random(f"{self._seed} {fault.name}"), list[Round]()
        skipped, failures = "", 0
        if self.stop.is_set():
            return FaultResult(name=fault.name, skipped="the time was over")
        say("note", f"fault: {fault.name}")
        while len(rounds) < self._rounds and not self.stop.is_set() and failures < MOST_FAILURES and not skipped:
            with tempfile.TemporaryDirectory(prefix="edgecap-faults-") as folder:
                before = len(rounds)
                try:
                    with SmallDisk(Path(folder)) as disk, self._rig(Path(folder), disk, fault) as rig:
                        last = min(self._rounds, before + OF_ONE_DISK)
                        while len(rounds) < last and not self.stop.is_set():
                            rounds.append(once(rig, fault, source, self._patience))
                            self._note(FaultResult(name=fault.name, rounds=[*rounds], says=fault.says))
                except NotPossibleError as error:
                    skipped = str(error)
                except (EdgecapError, OSError) as error:
                    say("warning", f"{fault.name}: {error}")
                    if len(rounds) > before:  # else the machine was too busy for a listener to begin at all
                        rounds.append(Round(survived=False))
                    failures += 1
        result = FaultResult(name=fault.name, rounds=rounds, says=fault.says, skipped=skipped, failures=failures)
        self._note(result)
        say("note", f"{fault.name}: {result.criterion().measured}")
        return result

    def _note(self, result: FaultResult) -> None:
        with self.lock:
            self.results[result.name] = result
            self._keep()

    def _rig(self, folder: Path, disk: SmallDisk, fault: Fault) -> Rig:
        shared: dict[str, Any] = {"own_clock": fault.own_clock, "model": self._model}
        if not fault.microphones:
            return Rig(folder, disk, **shared)
        often: dict[str, Any] = {"quiet": QUIET_SECONDS, "close_after": CLOSE_AFTER}
        return Rig(folder, disk, microphones=fault.microphones, **often, **shared)


def faults(
    *,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Of each fault.")] = 100,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="These faults (repeatable).")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Listeners side by side, each with its own fault.")] = 1,
    at_most: Annotated[
        float | None, typer.Option("--at-most", metavar="MINUTES", help="Begin no further round after so long.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the random moments.")] = 0,
    patience: Annotated[
        float, typer.Option("--patience", metavar="SECONDS", help="After which a round is given up.")
    ] = PATIENCE,
    model: Model = None,
    json: JsonFile = None,
) -> None:
    """Do each fault many times to a running listener, and report what became of its events."""
    known = [fault.name for fault in FAULTS]
    for name in only or []:
        if name not in known:
            raise typer.BadParameter(f"unknown fault {name!r}; use {', '.join(known)}", param_hint="--only")
    if json:
        check_writable(json)
    limits = "".join(f' --only "{name}"' for name in only or [])
    start = MeasurementStart(f"python -m edgecap_bench.faults.faults --rounds {rounds} --jobs {jobs}{limits}")
    meter = LoadMeter()
    chosen = [fault for fault in FAULTS if not only or fault.name in only]

    def keep(*, partial: bool = True) -> None:
        if json:
            so_far = [campaign.results[fault.name] for fault in chosen if fault.name in campaign.results]
            body = Faults(faults=so_far, jobs=jobs, others=meter.others())
            write_measurement(json, start.end(body, partial=partial))

    campaign = Campaign(rounds, seed, patience, model, keep)
    with _stopping(campaign, at_most), ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(campaign.run, chosen))
    keep(partial=campaign.stop.is_set())
    output.finish(criteria(results))


@contextmanager
def _stopping(campaign: Campaign, minutes: float | None) -> Iterator[None]:
    """End a campaign after some minutes, and at SIGINT and SIGTERM: the rounds under way are done, and reported."""
    timer = threading.Timer(60.0 * (minutes or 0.0), campaign.stop.set)
    timer.daemon = True
    if minutes is not None:
        timer.start()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: campaign.stop.set()) for number in numbers]
    try:
        yield
    finally:
        timer.cancel()
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


if __name__ == "__main__":
    output.run_command(faults)
