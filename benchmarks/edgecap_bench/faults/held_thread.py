"""One thread of another process that makes no step for a while, while the others go on: a model that hangs."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edgecap_bench.faults.disk import NotPossibleError

SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
"""Requests of ptrace(2)."""
ANY_THREAD = 0x40000000
"""__WALL of waitpid(2)."""


def busiest_thread(pid: int) -> int:
    """The thread of a process that has worked most, the main one left out: of a listener the one that captions."""

    def worked(task: Path) -> int:
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    tasks = [task for task in Path(f"/proc/{pid}/task").iterdir() if int(task.name) != pid]
    return int(max(tasks, key=worked).name)


def hold(thread: int) -> Callable[[], None]:
    """Stop that thread; what lets it go on, which the same thread of this process must call.

    Raises NotPossibleError where that is not allowed.
    """
    if _trace(SEIZE, thread) or _trace(INTERRUPT, thread):
        raise NotPossibleError("a thread of the listener could not be stopped (ptrace is not allowed here)")
    os.waitpid(thread, ANY_THREAD)

    def let_go() -> None:
        if _trace(DETACH, thread):  # it was killed meanwhile
            with suppress(OSError):
                os.waitpid(thread, ANY_THREAD)

    return let_go


def _trace(request: int, thread: int) -> int:
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.restype = ctypes.c_long
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    return int(ptrace(request, thread, None, None))
