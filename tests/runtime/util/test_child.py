"""Shell commands: bounded in time and output, and gone with the process that started them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecap.util.child import Outcome, run_shell
from edgecap.util.limits import MOST_ERRORS

SECONDS = 30.0
"""More than any of these commands takes."""


def run(
    command: str, document: bytes = b"", *, seconds: float = SECONDS, stop: Callable[[], bool] = lambda: False
) -> Outcome:
    return run_shell(command, document, {"EDGECAP_TEXT": "a\0b\ud800\n\x1b[31m"}, seconds=seconds, stop=stop)


def is_gone(path: Path) -> bool:
    """Whether the process whose number is in the file has ended, or ends within half a minute."""
    number = int(path.read_text())
    for _ in range(3000):
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_input_environment_code_and_errors_are_passed(tmp_path: Path) -> None:
    large = b"x" * 1_000_000
    outcome = run(f'cat > "{tmp_path}/in"; printf %s "$EDGECAP_TEXT" > "{tmp_path}/text"; echo no >&2; exit 3', large)
    assert outcome == Outcome(3, False, ("no",))
    assert (tmp_path / "in").read_bytes() == large
    assert (tmp_path / "text").read_text() == r"a\x00b\ud800 \x1b[31m"


def test_a_flood_of_errors_is_cut_and_cleaned() -> None:
    outcome = run(r"head -c 20000000 /dev/zero | tr '\0' x >&2; printf '\033[2J' >&2")
    assert outcome.code == 0
    text, left = outcome.errors
    assert (text, left) == ("x" * MOST_ERRORS, f"… {20_000_004 - MOST_ERRORS - 1} bytes more")
    assert run(r"printf '\033[2J\r\n\377\n' >&2").errors == (r"\x1b[2J", "�")
    assert len(run("seq 1000 >&2").errors) == 11


def test_a_command_whose_time_is_over_gets_sigterm_then_sigkill(tmp_path: Path) -> None:
    trap = f"trap 'echo ended > \"{tmp_path}/term\"; exit' TERM"
    outcome = run(f"{trap}; sleep 60 & wait", seconds=0.3)
    assert (outcome.ended, (tmp_path / "term").read_text()) == (True, "ended\n")
    assert run(f"trap '' TERM; echo $$ > \"{tmp_path}/pid\"; while :; do sleep 1; done", seconds=0.2).ended
    assert is_gone(tmp_path / "pid")


def test_what_a_command_leaves_in_the_background_ends_with_it(tmp_path: Path) -> None:
    outcome = run(f"sleep 600 & echo $! > '{tmp_path}/pid'")
    assert outcome == Outcome(0, False, ())
    assert is_gone(tmp_path / "pid")


def test_a_command_is_ended_when_its_caller_stops() -> None:
    calls = iter(range(100))
    assert run("sleep 60", stop=lambda: next(calls) > 1).ended


def test_any_descriptors_may_be_free() -> None:
    """Also those of a daemon whose standard streams are closed."""
    script = (
        "import os\nfrom edgecap.util.child import run_shell\nos.close(0); os.close(1)\n"
        "outcome = run_shell('cat; echo no >&2; exit 3', b'', {}, seconds=30, stop=lambda: False)\n"
        "os._exit(0 if (outcome.code, outcome.errors) == (3, ('no',)) else 1)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=SECONDS).returncode == 0


def test_a_command_that_cannot_be_started_leaves_no_descriptor_open() -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    with pytest.raises(ValueError, match="null"):
        run("a\0b")
    run("true")
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_a_command_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "from edgecap.util.child import run_shell\n"
        f"run_shell('echo $$ > {tmp_path}/pid.tmp; mv {tmp_path}/pid.tmp {tmp_path}/pid; sleep 600', b'', {{}}, "
        "seconds=600, stop=lambda: False)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        for _ in range(3000):
            if (tmp_path / "pid").exists():
                break
            time.sleep(0.01)
        assert parent.poll() is None
    finally:
        parent.kill()
        parent.wait()
    assert is_gone(tmp_path / "pid")
