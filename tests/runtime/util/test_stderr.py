"""What native libraries write to standard error, and what of it the user sees."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, sys
from edgecap.util.stderr import without_lines
with without_lines("Expression '", "ALSA lib "):
    os.write(2, b"Expression 'snd_pcm' failed\\nALSA lib pcm.c: no\\nanother library\\n")
    print("edgecap itself", file=sys.stderr)
    os._exit(0) if sys.argv[1] == "at once" else None
os.write(2, b"Expression afterwards\\n")
print("and afterwards", file=sys.stderr)
"""


def run(argument: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, argument], stderr=subprocess.PIPE, text=True, check=True, timeout=60
    )
    return sorted(done.stderr.splitlines())


def test_known_lines_of_libraries_are_left_out_and_no_others() -> None:
    assert run("to the end") == ["Expression afterwards", "and afterwards", "another library", "edgecap itself"]


def test_what_python_wrote_is_there_even_if_the_process_ends_at_once() -> None:
    assert "edgecap itself" in run("at once")


def test_a_closed_standard_error_is_left_alone() -> None:
    script = (
        "import os; os.close(2); from edgecap.util.stderr import without_lines\nwith without_lines('x'): print('ok')"
    )
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout.split() == [b"ok"]
