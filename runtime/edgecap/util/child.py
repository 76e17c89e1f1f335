"""A shell command that is bounded in time and output, and that does not outlive this process.

Its run is its process group: it ends when the shell ends or its time is over, and then what it left in the background
is ended too. Should this process be killed, a second shell in the group sees the end of a pipe and ends the group.
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from signal import SIGKILL, SIGTERM

from edgecap.util.limits import MOST_ERROR_LINES, MOST_ERRORS
from edgecap.util.text import clean

GUARDED = """exec 3>&2 2>/dev/null
trap : TERM
( read -r _ </proc/self/fd/"$2"; kill -KILL -$$ ) 3>&- &
/bin/sh -c "$1" 2>&3 3>&-
code=$?
kill -KILL $!
wait $!
exit $code"""
"""Runs $1; a guard reads descriptor $2, which ends when no process holds its other end any more."""
LOWEST = 10
"""The guard's descriptor is at least this: the script uses smaller ones."""
POLL_SECONDS = 0.05
"""Longest time until the end of a command, or of its time, is noticed."""
TERM_SECONDS, HURRIED_SECONDS = 2.0, 0.5
"""From SIGTERM to SIGKILL for a command whose time is over, and at the end of this process."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    code: int
    """Exit code; the negative number of a signal that ended the shell."""
    ended: bool
    """Whether it was ended, since its time was over or by `stop`."""
    errors: tuple[str, ...]
    """The first lines of its standard error, cleaned."""


def run_shell(
    command: str, document: bytes, environment: Mapping[str, str], *, seconds: float, stop: Callable[[], bool]
) -> Outcome:
    """Run `command` with /bin/sh and `document` on its standard input; what it prints is dropped.

    It is ended after `seconds`, or when `stop` says so. Raises OSError or ValueError where it cannot be started.
    """
    low, life = os.pipe()
    guard = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, LOWEST)
    os.close(low)
    source = os.memfd_create("edgecap")
    try:
        os.write(source, document)
        os.lseek(source, 0, os.SEEK_SET)
        child = subprocess.Popen(
            ["/bin/sh", "-c", GUARDED, "edgecap", command, str(guard)],
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **{key: clean(value) for key, value in environment.items()}},
            start_new_session=True,
            pass_fds=(guard,),
        )
    except BaseException:
        os.close(life)
        raise
    finally:
        os.close(guard)
        os.close(source)
    assert child.stderr is not None
    errors = _Errors(child.stderr.fileno())
    try:
        ended = not _wait(child.pid, errors, time.monotonic() + seconds, stop)
        said = errors.lines()  # a shell that is ended has words for that too
        if ended:
            _signal(child.pid, SIGTERM)
            _wait(child.pid, errors, time.monotonic() + (HURRIED_SECONDS if stop() else TERM_SECONDS))
    finally:
        _signal(child.pid, SIGKILL)  # what it left; the shell is not waited for yet, so its number is still its own
        with suppress(subprocess.TimeoutExpired):  # one that became another user cannot be ended
            child.wait(HURRIED_SECONDS)
        errors.take(0.0)
        child.stderr.close()
        os.close(life)
    return Outcome(child.returncode or 0, ended, said if ended else errors.lines())


class _Errors:
    """Reads a pipe, so that the writer never waits, and keeps its beginning."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._open, self._kept, self._size = descriptor, True, b"", 0

    def take(self, seconds: float) -> None:
        """Take one piece; waits at most `seconds` for it."""
        if not self._open:
            time.sleep(seconds)
        elif select.select([self._descriptor], [], [], seconds)[0]:
            data = os.read(self._descriptor, 1 << 16)
            self._open = bool(data)
            self._size += len(data)
            self._kept += data[: MOST_ERRORS - len(self._kept)]

    def lines(self) -> tuple[str, ...]:
        """What was kept, and how much was not."""
        shown = self._kept.split(b"\n")[:MOST_ERROR_LINES]
        lines = tuple(clean(line.decode("utf-8", "replace")) for line in shown if line.strip())
        left = self._size - sum(len(line) + 1 for line in shown)
        return (*lines, f"… {left} bytes more") if left > 0 else lines


def _wait(pid: int, errors: _Errors, deadline: float, stop: Callable[[], bool] = lambda: False) -> bool:
    """Whether the process ends before the deadline and before `stop`; it is not reaped."""
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if stop() or time.monotonic() >= deadline:
            return False
        errors.take(POLL_SECONDS)
    return True


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
