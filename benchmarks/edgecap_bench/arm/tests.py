"""edgecap's own tests of the runtime, run by an emulated Python."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from edgecap_bench.arm.emulator import EmulatedPython
from edgecap_bench.arm.packages import ArmLabError
from edgecap_bench.arm.results import TestRun

QUICK = (
    "test_captioner.py",
    "test_decoding.py",
    "test_session.py",
    "test_live_stream.py",
    "test_samples.py",
    "test_windows.py",
    "test_caption.py",
)
"""The tests of arithmetic, which a processor could get wrong, in minutes: what CI runs."""
NOT_EMULATED = {
    "test_bad_input.py": "limits the memory of its programs, and the emulator's own counts as theirs",
    "test_doctor.py": "checks this machine",
    "test_executorch_session.py": "exports its model with PyTorch",
    "test_listen.py": "records from a real PulseAudio in real time, which an emulated processor cannot keep up with",
    "test_listen_command.py": "listens in real time",
    "test_litert_board.py": "exports its model with PyTorch",
    "test_litert_session.py": "exports its model with PyTorch",
    "test_live_listener.py": "counts the hops of a listener, which makes fewer of them on a slow processor",
    "test_live_many.py": "measures with edgecap_bench.live",
    "test_live_recovery.py": "listens in real time",
    "test_service.py": "runs this machine's systemd",
    "test_web_command.py": "needs a browser",
    "test_web_page.py": "needs a browser",
    "test_web_server.py": "needs a browser",
}
"""Test file of the runtime → why the lab leaves it out."""


def runtime_tests(tests: Path) -> list[Path]:
    """The files of `tests`/runtime without those of `NOT_EMULATED`. Raises ArmLabError where there are none."""
    paths = [path for path in sorted((tests / "runtime").rglob("test_*.py")) if path.name not in NOT_EMULATED]
    if not paths:
        raise ArmLabError(f"{tests} holds no tests of the runtime; run the Arm lab in a checkout of edgecap")
    return paths


def run_tests(python: EmulatedPython, files: Sequence[Path], seconds: float) -> TestRun:
    """Run test files on one processor. Raises ArmLabError where pytest itself cannot be run."""
    checkout = next(parent for parent in files[0].parents if parent.name == "tests").parent
    with tempfile.TemporaryDirectory(prefix="edgecap-arm-") as place:
        report = Path(place) / "report.xml"
        begin = time.monotonic()
        options = ("-q", "-p", "no:cacheprovider", f"--basetemp={place}/tests", f"--junitxml={report}")
        paths = [str(path.relative_to(checkout)) for path in files]
        done = python.run("-m", "pytest", *options, *paths, folder=checkout, seconds=seconds)
        taken = time.monotonic() - begin
        if not report.is_file():
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()] or ["no output"]
            raise ArmLabError(
                f"the tests could not be run on the emulated {python.board.processor} (exit code {done.returncode}): "
                f"{lines[-1]}"
            )
        return read_report(report.read_text(encoding="utf-8"), [path.name for path in files], taken)


def read_report(text: str, files: list[str], seconds: float) -> TestRun:
    """pytest's JUnit report to a `TestRun`. Raises ArmLabError for one without tests."""
    cases = list(ElementTree.fromstring(text).iter("testcase"))
    if not cases:
        raise ArmLabError("the emulated run contains no test")
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    return TestRun(
        files=files, passed=len(cases) - skipped - len(failed), failed=failed, skipped=skipped, seconds=seconds
    )
