"""Strangers' bytes at every way in: an answer or one line, never a traceback. Longer: tests/fuzz/campaign.py."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import campaign
from fuzz.child import CORPUS, MOST_MEGABYTES, corpus
from fuzz.mutate import KINDS, LARGEST_PLACE, LARGEST_SIZE, PAYLOADS, changed
from fuzz.targets import TARGETS, attempt

EXAMPLES = 60
NATIVE_EXECUTIONS = 100
EDITS = st.lists(
    st.tuples(
        st.integers(0, len(KINDS) - 1),
        st.integers(0, LARGEST_PLACE - 1),
        st.integers(0, LARGEST_SIZE - 1),
        st.sampled_from(PAYLOADS) | st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of an input that failed
@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if not target.native])
def test_changed_inputs_end_in_an_answer_or_one_line(name: str, tmp_path: Path) -> None:
    with TARGETS[name].open(tmp_path) as (good, run):
        for seed in good:
            attempt(run, seed)
        for known in corpus(name):
            attempt(run, known)

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.integers(0, len(good) - 1), EDITS)
        def explore(seed: int, edits: list[tuple[int, int, int, bytes]]) -> None:
            attempt(run, changed(good[seed], edits))

        explore()


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.native and target.in_tests])
def test_changed_inputs_of_libraries_in_c_end_so_in_a_process_of_their_own(name: str) -> None:
    if name == "media" and shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    command = [sys.executable, str(Path(__file__).with_name("campaign.py")), "--target", name]
    done = subprocess.run(
        [*command, "--executions", str(NATIVE_EXECUTIONS)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    executions, _refused, findings, _seconds, megabytes = json.loads(done.stdout)
    assert (executions, findings) == (NATIVE_EXECUTIONS, 0)
    assert megabytes < MOST_MEGABYTES


def test_what_was_found_belongs_to_a_target_and_is_small() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)
    assert all(path.stat().st_size <= 26_000 for path in CORPUS.rglob("*") if path.is_file())


def test_a_campaign_counts_adds_up_and_tells_what_crashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(campaign, "TARGETS", {"manifest": TARGETS["manifest"]})
    campaign.Campaign(tmp_path).run(2.0, 10)
    again = campaign.Campaign(tmp_path)
    assert again.executions >= 1
    assert (again.faults, again.tallies["manifest"].seed) == (0, 1)
    assert f"| manifest | {again.executions:,} |" in again.table()

    monkeypatch.setattr(campaign, "TARGETS", {"nothing": TARGETS["manifest"]})
    crashed = campaign.Campaign(tmp_path)
    crashed.turn("nothing", 1.0)  # there is no such target, so its process ends before it reports
    assert (crashed.faults, crashed.tallies["nothing"].lost) == (1, 1)
    assert (tmp_path / "nothing-crash-0").read_bytes() == b""
