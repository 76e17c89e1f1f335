"""`edgecap bench --compare`: from what was asked to a comparison, shown and written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from edgecap.errors import MissingDependencyError
from edgecap_bench import load
from edgecap_bench.contest import ContestPlan, Progress, contest
from edgecap_bench.contest_results import FORMAT, FORMAT_VERSION, Contest
from edgecap_bench.machine import this_machine, versions

TEACHER, REFERENCE = "teacher", "reference"
NEEDED = ("torch", "transformers", "onnx", "onnxscript", "safetensors")


def check(compare: Sequence[str]) -> None:
    """Say what cannot work before anything runs. Raises MissingDependencyError."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    published = [name for name in compare if name in (TEACHER, REFERENCE)]
    if published and missing:
        raise MissingDependencyError(f"--compare {published[0]} needs {', '.join(missing)}, which are not installed; "
                                     'type: pip install "edgecap[bench]", or compare bundles alone')


def run(
    compare: Sequence[str], model: str | None, *, clips: Path | None, rounds: int, tokens: int, beam: int,
    threads: int, even_busy: bool, command: str, progress: Progress,
) -> Contest:  # fmt: skip
    """Run a comparison. Raises EdgecapError, BusyMachineError before it where the machine is busy."""
    plan = ContestPlan(
        models=(model, *(name for name in compare if name not in (TEACHER, REFERENCE))), teacher=TEACHER in compare,
        reference=REFERENCE in compare, clips=clips, rounds=rounds, tokens=tokens, beam=beam, threads=threads,
        cores=load.cores(threads),
    )  # fmt: skip
    before = load.look()
    if not even_busy:
        load.refuse_if_busy(before)
    date = datetime.now().astimezone().isoformat(timespec="seconds")
    meter = load.LoadMeter()
    found = contest(plan, progress)
    during = meter.others()
    return Contest(
        format=FORMAT, format_version=FORMAT_VERSION, date=date, command=command, machine=this_machine(),
        versions=versions("torch", "transformers"), threads=threads, beam=beam, tokens=tokens, clips=found.clips,
        clip_seconds=found.clip_seconds, rounds=rounds, entrants=found.entrants, others_before=before,
        others_during=during, noisy=max(before or 0.0, during or 0.0) > load.MOST_OTHERS, partial=found.partial,
    )  # fmt: skip
