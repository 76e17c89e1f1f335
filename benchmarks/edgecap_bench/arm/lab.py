"""The Arm lab: edgecap's runtime tests and bundles on emulated Raspberry Pis, compared with this machine.

`benchmarks/arm/lab.py` is its command line; benchmarks/arm/README.md explains its numbers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgecap.bundle.bundle import read_manifest
from edgecap_bench.arm.captions import BundleRun, read_answer
from edgecap_bench.arm.emulator import BOARDS, Board, EmulatedPython, InterruptedRunError
from edgecap_bench.arm.packages import ArmLabError
from edgecap_bench.arm.results import ArmLab, BoardRun, TestRun
from edgecap_bench.arm.root import Say, make_root
from edgecap_bench.arm.tests import QUICK, run_tests, runtime_tests
from edgecap_bench.harness.process import last_line
from edgecap_bench.reports.measurement import Measurement, MeasurementStart

REPOSITORY = Path(__file__).resolve().parents[3]
SOURCES = (REPOSITORY / "runtime", REPOSITORY / "benchmarks")
"""Sources in the checkout that the emulated Python runs."""
OTHER_RUNTIMES = ("ai-edge-litert", "executorch", "torch")
"""Packages whose versions a lab's result names besides those of every result."""


@dataclass(frozen=True, kw_only=True)
class LabPlan:
    """What the lab runs."""

    folder: Path
    """Where the arm64 root is, or is made."""
    bundles: tuple[Path, ...]
    clips: Path | None
    """Sounds to caption; None for made ones."""
    count: int
    """Clips of them."""
    tests: tuple[Path, ...]
    """Test files; none for no tests."""
    jobs: int
    """Emulated processes at a time."""
    patience: float
    """Seconds that one emulated process may take."""


def chosen_tests(quick: bool) -> tuple[Path, ...]:
    """The runtime's test files: all, or those of `QUICK`. Raises ArmLabError outside a checkout."""
    paths = runtime_tests(REPOSITORY / "tests")
    return tuple(path for path in paths if not quick or path.name in QUICK)


def export_bundles(folder: Path, runtimes: Sequence[str], precisions: Sequence[str], say: Say) -> tuple[Path, ...]:
    """The default model, exported for each runtime in each precision into `folder`. Raises ArmLabError."""
    say(f"exporting the default model for {', '.join(runtimes)} in {', '.join(precisions)}")
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "edgecap", "export", "--force", "--json", "--output", str(folder)]
    for runtime in runtimes:
        command += ["--runtime", runtime]
    done = subprocess.run(
        [*command, *(f"--{precision}" for precision in precisions)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = last_line(done.stderr, done.returncode)
        raise ArmLabError(f"the default model could not be exported: {reason}")
    return tuple(Path(export["bundle"]) for export in json.loads(done.stdout)["exports"])


def run_lab(plan: LabPlan, command: str, say: Say) -> Measurement[ArmLab]:
    """Run everything, as many emulated processes at a time as the plan says. Raises ArmLabError.

    After Ctrl-C the results so far come back, marked partial.
    """
    root = make_root(plan.folder, say, {read_manifest(bundle).runtime for bundle in plan.bundles})
    start = MeasurementStart(command, packages=tuple(name for name in OTHER_RUNTIMES if name in root.packages))
    say("captioning on this machine")
    here = [caption_here(bundle, plan) for bundle in plan.bundles]
    for run in here:
        if run.fault:
            raise ArmLabError(f"{run.bundle} does not run on this machine: {run.fault}")
    pythons = [EmulatedPython(root, board, SOURCES) for board in BOARDS]
    jobs = _Jobs(plan, pythons)
    partial_run = False
    with ThreadPoolExecutor(max_workers=plan.jobs) as pool:
        try:
            work = {pool.submit(job): name for name, job in jobs.all()}
            for number, future in enumerate(as_completed(work), start=1):
                say(f"{number} of {len(work)}: {work[future]}: {future.result()}")
        except KeyboardInterrupt:
            partial_run = True
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    boards = [jobs.result(python.board) for python in pythons]
    return start.end(ArmLab(debian=root.debian, qemu=root.qemu, here=here, boards=boards), partial=partial_run)


def caption_here(bundle: Path, plan: LabPlan) -> BundleRun:
    """One bundle on this machine, in a separate process; a timeout is its fault."""
    try:
        done = subprocess.run(
            [sys.executable, *_captions_command(bundle, plan)],
            capture_output=True,
            text=True,
            check=False,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            timeout=plan.patience,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        return _failed(bundle, f"it did not end in {plan.patience:g} s; give it more time with --patience")
    return _answered(bundle, done)


def caption_there(bundle: Path, plan: LabPlan, python: EmulatedPython) -> BundleRun:
    """One bundle on an emulated processor; a crash or a timeout is its fault."""
    try:
        return _answered(bundle, python.run(*_captions_command(bundle, plan), folder=REPOSITORY, seconds=plan.patience))
    except InterruptedRunError:
        raise
    except ArmLabError as error:
        return _failed(bundle, str(error))


def _captions_command(bundle: Path, plan: LabPlan) -> list[str]:
    clips = "-" if plan.clips is None else str(plan.clips.resolve())
    return ["-m", "edgecap_bench.arm.captions", clips, str(plan.count), str(bundle.resolve())]


def _answered(bundle: Path, done: subprocess.CompletedProcess[str]) -> BundleRun:
    runs = read_answer(done.stdout)
    if runs:
        return runs[0]
    return _failed(bundle, f"exit code {done.returncode}: {last_line(done.stderr, done.returncode)}")


def _failed(bundle: Path, fault: str) -> BundleRun:
    manifest = read_manifest(bundle)
    return BundleRun(
        bundle=bundle.name, runtime=manifest.runtime, precision=manifest.precision, captions=[], fault=fault
    )


class _Jobs:
    """What runs emulated, and its results by board; several threads fill the dictionaries, one key each."""

    def __init__(self, plan: LabPlan, pythons: Sequence[EmulatedPython]) -> None:
        self._plan, self._pythons = plan, pythons
        self._tests: dict[str, TestRun] = {}
        self._runs: dict[tuple[str, Path], BundleRun] = {}

    def all(self) -> list[tuple[str, Callable[[], str]]]:
        """The jobs, the longest first: a name, and a function that runs it and returns a summary."""
        made: list[tuple[str, Callable[[], str]]] = []
        for python in self._pythons if self._plan.tests else ():
            made.append((f"{python.board.processor}, tests", partial(self._test, python)))
        for bundle in self._plan.bundles:
            made += [
                (f"{python.board.processor}, {bundle.name}", partial(self._caption, python, bundle))
                for python in self._pythons
            ]
        return made

    def result(self, board: Board) -> BoardRun:
        """The results of a board so far."""
        runs = [
            self._runs[board.processor, bundle]
            for bundle in self._plan.bundles
            if (board.processor, bundle) in self._runs
        ]
        return BoardRun(
            board=board.name, processor=board.processor, tests=self._tests.get(board.processor), bundles=runs
        )

    def _test(self, python: EmulatedPython) -> str:
        try:
            run = run_tests(python, self._plan.tests, self._plan.patience)
        except InterruptedRunError:
            raise
        except ArmLabError as error:
            run = TestRun(
                files=[path.name for path in self._plan.tests], passed=0, failed=[str(error)], skipped=0, seconds=0.0
            )
        self._tests[python.board.processor] = run
        return f"{run.passed} passed, {len(run.failed)} failed, {run.skipped} skipped"

    def _caption(self, python: EmulatedPython, bundle: Path) -> str:
        run = self._runs[python.board.processor, bundle] = caption_there(bundle, self._plan, python)
        return run.fault or f"{len(run.captions)} clips"
