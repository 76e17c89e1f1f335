"""What the faults conclude, and one round of a real listener."""

from __future__ import annotations

from dataclasses import replace

import typer
from typer.testing import CliRunner

from edgecap_bench.faults.faults import FAULTS, MICROPHONE_FAULTS, Tally, criterion, faults
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


def test_a_listener_whose_outputs_are_rotated_loses_nothing() -> None:
    app = typer.Typer()
    app.command()(faults)
    arguments = ["--rounds", "1", "--only", "outputs rotated", "--patience", "300"]
    done = CliRunner().invoke(app, arguments)
    assert "1 of 1 survived, 0 lost, 0 doubled" in " ".join(done.output.split()), done.output
