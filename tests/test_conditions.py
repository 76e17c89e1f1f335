"""Under which conditions the tests themselves run: as started by a script that ignores Ctrl-C, too."""

from __future__ import annotations

import signal
import subprocess
import sys

from support.source_tree import REPOSITORY


def test_ctrl_c_reaches_this_process_and_its_children() -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    script = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_the_tests_run_under_a_parent_that_ignores_ctrl_c() -> None:
    name = f"{__file__}::{test_ctrl_c_reaches_this_process_and_its_children.__name__}"
    done = subprocess.run(
        [
            "bash",
            "-c",
            "trap '' INT; exec \"$@\"",
            "bash",
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            name,
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout
