"""What the faults conclude, and rounds of a real listener."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edgecap.live.events.event import iso
from edgecap_bench.faults import flood, soak
from edgecap_bench.faults.disk import NotPossibleError, SmallDisk
from edgecap_bench.faults.faults import LONGEST, faults, once
from edgecap_bench.faults.kinds import FAULTS, Fault, Mend
from edgecap_bench.faults.memory_group import MemoryGroup
from edgecap_bench.faults.record import Record
from edgecap_bench.faults.result import FaultResult, Round
from edgecap_bench.faults.rig import Rig
from edgecap_bench.live.soak_result import Sample

GOOD = Round(survived=True, reported=True, back=1.0)
SAMPLE = Sample(sound_seconds=0.0, seconds=0.0, resident_bytes=100, handles=20, threads=9, processor_seconds=1.0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path) as small:
        yield small


def test_each_fault_has_a_name_of_its_own() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)


def test_a_fault_is_kept_where_every_round_is_survived_soon_and_told() -> None:
    def kept(*rounds: Round) -> bool:
        return FaultResult(name="x", says="y", rounds=list(rounds)).criterion().kept

    assert kept(GOOD, GOOD)
    assert not kept()
    for bad in ({"survived": False, "lost": 1}, {"back": 5.1}, {"reported": False}):
        assert not kept(GOOD, replace(GOOD, **bad))
    lost = FaultResult(name="x", rounds=[GOOD, replace(GOOD, survived=False, lost=2)])
    assert "1 of 2 survived, 2 lost, 0 doubled" in lost.criterion().measured
    assert FaultResult(name="x", skipped="no root").criterion().measured == "left out: no root"


def test_a_soak_misses_what_grows_and_what_is_lost() -> None:
    hours = [replace(SAMPLE, sound_seconds=3600.0 * hour) for hour in range(7)]
    good = soak.FaultSoak(
        hours=6.0, samples=hours, faults=[FaultResult(name="x", rounds=[GOOD])], events=9, summary="", others=None
    )
    assert all(row.kept for row in soak.criteria(good))
    growing = [replace(sample, resident_bytes=round(6e5 * place)) for place, sample in enumerate(hours)]
    grown = soak.criteria(replace(good, samples=growing))
    assert [row.name for row in grown if not row.kept] == ["resident memory"]
    lost = replace(good, faults=[FaultResult(name="x", rounds=[replace(GOOD, survived=False, lost=1)])])
    assert [row.name for row in soak.criteria(lost) if not row.kept] == ["faults survived", "announced events"]
    assert {"kill -9", "power cut", "little memory"}.isdisjoint(fault.name for fault in soak.ONE_PROCESS)


def test_a_group_of_processes_is_ended_by_the_kernel_at_its_limit_of_memory() -> None:
    """As `MemoryMax=` of a service does."""
    code = "input()\nheld = bytearray(64_000_000)\nheld[::4096] = bytes(len(held[::4096]))"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        try:
            try:
                group = MemoryGroup(process.pid).enter(8_000_000)
            except NotPossibleError as error:
                pytest.skip(str(error))
            process.communicate(b"\n", timeout=60)
            assert process.returncode == -signal.SIGKILL
            group.leave()
            assert not group.folder.exists()
        finally:
            process.kill()


def test_a_flood_is_judged_by_what_it_adds_to_a_caption() -> None:
    counted = {"seconds": 60.0, "begun": 120_000, "answered": 100_000, "lost": 0, "doubled": 0, "others": None}
    good = flood.Flood(calm=[0.6, 0.6, 0.61], flooded=[0.62, 0.64], **counted)  # type: ignore[arg-type]
    assert [row.kept for row in flood.criteria(good)] == [True, True, True]
    assert "2000 a second begun" in flood.criteria(good)[2].measured
    late = flood.criteria(replace(good, flooded=[0.6, 0.7], lost=1))
    assert [row.kept for row in late] == [False, False, True]


def test_a_fault_lasts_until_the_listener_says_so(tmp_path: Path, disk: SmallDisk) -> None:
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

    with Slow(tmp_path, disk) as rig:
        result = once(rig, Fault("slow", fail, "it failed"), random.Random(0))
    assert (result.survived, result.reported, result.lost) == (True, True, 0)


def test_a_listener_survives_the_faults_that_take_its_outputs_and_its_power(disk: SmallDisk) -> None:
    names = ["outputs rotated", *(["power cut", "outputs read-only"] if disk.kind == "ext4" else [])]
    app = typer.Typer()
    app.command()(faults)
    only = [word for name in names for word in ("--only", name)]
    done = CliRunner().invoke(app, ["--rounds", "1", "--jobs", "3", "--patience", "300", *only])
    assert done.output.count("1 of 1 survived, 0 lost, 0 doubled") >= len(names), done.output


WRITE = """
import os, sys
from edgecap.live.sinks import files, journal
from support.live_parts import change
tell = lambda kind, text: print(kind, text, file=sys.stderr)
folder = sys.argv[1]
sinks = [journal.Journal(f"{folder}/a.db", "30d", tell, model="tiny"), files.table(f"{folder}/a.csv", tell)]
sinks.append(files.srt(f"{folder}/a.srt", tell))
for kind in ("begin", "end"):
    for sink in sinks:
        sink.on_event(change(kind, 1, "a dog barks"))
os._exit(0)
"""


def test_a_power_cut_takes_no_event_that_was_shown(disk: SmallDisk) -> None:
    try:
        disk.cut_power()
    except NotPossibleError as error:
        pytest.skip(str(error))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITE, str(disk.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    (disk.path / "cache").write_text("what is not synced is lost")
    disk.cut_power()
    assert not (disk.path / "cache").exists()
    with closing(sqlite3.connect(disk.path / "a.db")) as database:
        assert database.execute("SELECT text, open FROM events").fetchall() == [("a dog barks", 0)]
    for name in ("a.csv", "a.srt"):
        assert (disk.path / name).read_text().count("a dog barks") == 1


def test_a_listener_that_is_started_again_may_date_its_events_back(tmp_path: Path) -> None:
    """At four times its pace the sound of the first one lasts until long after the second one begins."""
    record = Record(tmp_path)
    with closing(sqlite3.connect(record.journal)) as database:
        database.execute("CREATE TABLE events (source TEXT, began REAL)")

        def announce(*dates: float, stored: Sequence[float]) -> None:
            database.executemany("INSERT INTO events VALUES ('pipe', ?)", [[date] for date in stored])
            database.commit()
            lines = [
                json.dumps({"kind": "begin", "source": "pipe", "began": iso(date), "start": 0.0}) for date in dates
            ]
            record.read(BytesIO("\n".join(lines).encode()), 1)

        announce(1e9, 1e9 + 48, stored=[1e9, 1e9 + 48])
        assert (record.lost(), record.doubled()) == (set(), 0)
        record.forget()
        announce(1e9 + 12, stored=[1e9 + 12, 1e9 + 12])
        assert (record.lost(), record.doubled()) == (set(), 1)
        record.forget()
        announce(1e9 + 24, stored=[])
        assert record.lost() == {("journal", "pipe", round(1000 * (1e9 + 24)))}
        record.forget()
        assert (record.lost(), record.doubled()) == (set(), 0)  # each is counted once
