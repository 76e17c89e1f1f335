"""What the faults conclude, and one round of a real listener."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import typer
from typer.testing import CliRunner

from edgecap.live.events.event import iso
from edgecap_bench.faults.faults import FAULTS, LONGEST, MICROPHONE_FAULTS, Fault, Mend, Tally, criterion, faults, once
from edgecap_bench.faults.rig import Rig
from edgecap_bench.faults.soak import ONE_PROCESS, criteria
from edgecap_bench.live.soak_result import Sample

FAULT = next(fault for fault in FAULTS if fault.says)
GOOD = Tally(rounds=2, survived=2, said=2, back=[1.0, 2.0])
SAMPLE = Sample(sound_seconds=0.0, seconds=0.0, resident_bytes=100, handles=20, threads=9, processor_seconds=1.0)


def test_each_fault_has_a_name_of_its_own() -> None:
    names = [fault.name for fault in (*FAULTS, *MICROPHONE_FAULTS)]
    assert len(set(names)) == len(names)


def test_a_fault_is_kept_where_every_round_is_survived_soon_and_told() -> None:
    assert criterion(FAULT, GOOD, 2).kept
    assert not criterion(FAULT, GOOD, 3).kept  # a round that did not come to its end
    assert not criterion(FAULT, replace(GOOD, survived=1, lost=1), 2).kept
    assert not criterion(FAULT, replace(GOOD, back=[1.0, 5.1]), 2).kept
    assert not criterion(FAULT, replace(GOOD, said=1), 2).kept
    assert "survived, 1 lost, 0 doubled" in criterion(FAULT, replace(GOOD, survived=1, lost=1), 2).measured


def test_a_soak_misses_what_grows_and_what_is_lost() -> None:
    hours = [replace(SAMPLE, sound_seconds=3600.0 * hour) for hour in range(7)]
    assert all(row.kept for row in criteria(hours, GOOD))
    growing = [replace(sample, resident_bytes=round(6e5 * place)) for place, sample in enumerate(hours)]
    assert [row.name for row in criteria(growing, GOOD) if not row.kept] == ["resident memory"]
    lost = replace(GOOD, survived=1, lost=1)
    assert [row.name for row in criteria(hours, lost) if not row.kept] == ["faults survived", "announced events"]
    assert {"kill -9", "torn last row"}.isdisjoint(fault.name for fault in ONE_PROCESS)


def test_a_fault_lasts_until_the_listener_says_so(tmp_path: Path) -> None:
    """A program that fails is noticed at the next event, which may come after the usual length of a fault."""

    class Slow(Rig):
        """Its listener says what is wrong 4 s after the fault."""

        broken = False

        def wait_for_event(self, seconds: float) -> None:
            """The next one."""

    def fail(rig: Rig, _source: random.Random) -> Mend:
        assert isinstance(rig, Slow)
        rig.broken = True
        threading.Timer(LONGEST + 1.0, lambda: rig.messages.extend(["it failed"] * rig.broken)).start()
        return lambda: setattr(rig, "broken", False)

    tally = Tally()
    with Slow(tmp_path, tmp_path) as rig:
        once(rig, Fault("slow", fail, "it failed"), random.Random(0), tally)
    assert (tally.rounds, tally.survived, tally.said) == (1, 1, 1)


def test_a_listener_whose_outputs_are_rotated_loses_nothing() -> None:
    app = typer.Typer()
    app.command()(faults)
    arguments = ["--rounds", "1", "--only", "outputs rotated", "--patience", "300"]
    done = CliRunner().invoke(app, arguments)
    assert "1 of 1 survived, 0 lost, 0 doubled" in " ".join(done.output.split()), done.output


def test_a_listener_that_is_started_again_may_date_its_events_back(tmp_path: Path) -> None:
    """At four times its pace the sound of the first one lasts until long after the second one begins."""
    rig = Rig(tmp_path, tmp_path)
    with ExitStack() as stack:
        stack.push(rig)  # no listener is started
        database = stack.enter_context(closing(sqlite3.connect(rig.journal)))
        database.execute("CREATE TABLE events (source TEXT, began REAL)")

        def announce(*dates: float, stored: Sequence[float]) -> None:
            database.executemany("INSERT INTO events VALUES ('pipe', ?)", [[date] for date in stored])
            database.commit()
            lines = [json.dumps({"kind": "begin", "source": "pipe", "began": iso(date)}) for date in dates]
            rig.read_events(BytesIO("\n".join(lines).encode()))

        announce(1e9, 1e9 + 48, stored=[1e9, 1e9 + 48])
        assert (rig.lost, rig.doubled) == (set(), 0)
        rig.forget(rig.lost)
        announce(1e9 + 12, stored=[1e9 + 12, 1e9 + 12])
        assert (rig.lost, rig.doubled) == (set(), 1)
        rig.forget(rig.lost)
        announce(1e9 + 24, stored=[])
        assert rig.lost == {("pipe", round(1000 * (1e9 + 24)))}
        rig.forget(rig.lost)
        assert (rig.lost, rig.doubled) == (set(), 0)  # each is counted once
