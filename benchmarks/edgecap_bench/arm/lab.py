"""The Arm lab: edgecap's runtime tests and bundles on emulated Raspberry Pis, compared with this machine.

`benchmarks/arm/lab.py` is its command line; benchmarks/arm/README.md says what its numbers mean.
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
from edgecap_bench.arm.results import FORMAT, FORMAT_VERSION, ArmLab, BoardRun, TestRun
from edgecap_bench.arm.root import Say, make_root
from edgecap_bench.arm.tests import QUICK, run_tests, runtime_tests
from edgecap_bench.harness.machine import now, this_machine, versions

REPOSITORY = Path(__file__).resolve().parents[3]
SOURCES = (REPOSITORY / "runtime", REPOSITORY / "benchmarks")
"""What the emulated Python runs of edgecap, straight from the checkout."""
OTHER_RUNTIMES = ("ai-edge-litert", "executorch", "torch")
"""Packages that do the work besides those that every result names."""


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
    found = runtime_tests(REPOSITORY / "tests")
    return tuple(path for path in found if not quick or path.name in QUICK)


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
        words = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise ArmLabError(f"the default model could not be exported: {words[0].removeprefix('edgecap: error: ')}")
    return tuple(Path(export["bundle"]) for export in json.loads(done.stdout)["exports"])


def run_lab(plan: LabPlan, command: str, say: Say) -> ArmLab:
    """Run everything, as many emulated processes at a time as the plan says. Raises ArmLabError.

    After Ctrl-C what was found until then comes back, marked partial.
    """
    date = now()
    root = make_root(plan.folder, say, {read_manifest(bundle).runtime for bundle in plan.bundles})
    say("captioning on this machine")
    here = [caption_here(bundle, plan) for bundle in plan.bundles]
    for run in here:
        if run.fault:
            raise ArmLabError(f"{run.bundle} does not run on this machine: {run.fault}")
    pythons = [EmulatedPython(root, board, SOURCES) for board in BOARDS]
    found = _Found(plan, pythons)
    cut_short = False
    with ThreadPoolExecutor(max_workers=plan.jobs) as pool:
        try:
            work = {pool.submit(job): name for name, job in found.jobs()}
            for number, future in enumerate(as_completed(work), start=1):
                say(f"{number} of {len(work)}: {work[future]}: {future.result()}")
        except KeyboardInterrupt:
            cut_short = True
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return ArmLab(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        date=date,
        command=command,
        machine=this_machine(),
        versions=versions() | {name: root.packages[name] for name in OTHER_RUNTIMES if name in root.packages},
        debian=root.debian,
        qemu=root.qemu,
        here=here,
        boards=[found.board(python.board) for python in pythons],
        partial=cut_short,
    )


def caption_here(bundle: Path, plan: LabPlan) -> BundleRun:
    """One bundle on this machine, in a process of its own. Too little time is told in the answer."""
    try:
        done = subprocess.run(
            [sys.executable, *_question(bundle, plan)],
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
    """One bundle on an emulated processor. A crash, or too little time, is told in the answer."""
    try:
        return _answered(bundle, python.run(*_question(bundle, plan), folder=REPOSITORY, seconds=plan.patience))
    except InterruptedRunError:
        raise
    except ArmLabError as error:
        return _failed(bundle, str(error))


def _question(bundle: Path, plan: LabPlan) -> list[str]:
    clips = "-" if plan.clips is None else str(plan.clips.resolve())
    return ["-m", "edgecap_bench.arm.captions", clips, str(plan.count), str(bundle.resolve())]


def _answered(bundle: Path, done: subprocess.CompletedProcess[str]) -> BundleRun:
    runs = read_answer(done.stdout)
    if runs:
        return runs[0]
    words = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
    return _failed(bundle, f"exit code {done.returncode}: {words[-1].strip()}")


def _failed(bundle: Path, fault: str) -> BundleRun:
    manifest = read_manifest(bundle)
    return BundleRun(
        bundle=bundle.name, runtime=manifest.runtime, precision=manifest.precision, captions=[], fault=fault
    )


class _Found:
    """Results as they come, by board; dictionaries are filled from several threads, one key each."""

    def __init__(self, plan: LabPlan, pythons: Sequence[EmulatedPython]) -> None:
        self._plan, self._pythons = plan, pythons
        self._tests: dict[str, TestRun] = {}
        self._runs: dict[tuple[str, Path], BundleRun] = {}

    def jobs(self) -> list[tuple[str, Callable[[], str]]]:
        """What is to be run, the longest first: its name, and what runs it and answers in a few words."""
        made: list[tuple[str, Callable[[], str]]] = []
        for python in self._pythons if self._plan.tests else ():
            made.append((f"{python.board.processor}, tests", partial(self._test, python)))
        for bundle in self._plan.bundles:
            made += [
                (f"{python.board.processor}, {bundle.name}", partial(self._caption, python, bundle))
                for python in self._pythons
            ]
        return made

    def board(self, board: Board) -> BoardRun:
        """What was found of a board."""
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
