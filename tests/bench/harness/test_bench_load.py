"""A busy machine is noticed, and measurements stay on their cores."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from edgecap.errors import BusyMachineError
from edgecap_bench.harness import load
from edgecap_bench.harness.load import LoadMeter, refuse_if_busy


def meter(busy: list[float | None], own: list[float], clock: list[float]) -> LoadMeter:
    return LoadMeter(iter(busy).__next__, iter(own).__next__, iter(clock).__next__)


def test_what_others_take_is_all_load_less_ones_own() -> None:
    assert meter([100.0, 103.0], [10.0, 11.0], [0.0, 2.0]).others() == 1.0


def test_what_others_take_is_never_less_than_nothing() -> None:
    assert meter([100.0, 100.9], [10.0, 11.0], [0.0, 1.0]).others() == 0.0


def test_an_unknown_load_is_none_and_is_not_refused() -> None:
    assert meter([None, None], [0.0, 0.0], [0.0, 1.0]).others() is None
    refuse_if_busy(None)


def test_a_busy_machine_is_refused_with_what_to_do() -> None:
    refuse_if_busy(load.MOST_OTHERS)
    with pytest.raises(BusyMachineError, match=r"busy: other programs take 0\.50 .*--even-busy") as raised:
        refuse_if_busy(0.5)
    assert raised.value.exit_code == 10


@pytest.mark.skipif(load.busy_seconds() is None, reason="this system has no /proc/stat")
def test_another_program_at_work_is_seen_and_ones_own_is_not() -> None:
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.3)
        watched = LoadMeter()
        time.sleep(0.5)
        seen = watched.others()
    finally:
        other.kill()
        other.wait()
    # It has a core to itself, or its share of one; on a machine that is busy otherwise others only add.
    assert seen is not None
    assert seen > 0.3


def test_cores_are_as_many_as_threads_and_no_more_than_there_are() -> None:
    assert len(load.cores(1)) == 1
    with pytest.raises(ValueError, match="do not fit"):
        load.cores(10_000)
