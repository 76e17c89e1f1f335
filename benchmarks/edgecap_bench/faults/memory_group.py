"""A group of processes with a limit of memory of its own (a cgroup), which the kernel keeps by ending one of them.

Only what a process takes after it has entered the group counts. Both versions of cgroups are known; it takes root.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Self

from edgecap_bench.faults.disk import NotPossibleError

ROOT = Path("/sys/fs/cgroup")
LIMITS = {"memory.max": "max", "memory.limit_in_bytes": "-1"}
"""The file that holds the limit, of version 2 and of version 1, and what means none."""


class MemoryGroup:
    """Holds one process from `enter` to `leave`."""

    def __init__(self, pid: int) -> None:
        """Make the group. Raises NotPossibleError."""
        self._pid = pid
        above = ROOT / "memory" if (ROOT / "memory").is_dir() else ROOT
        self._before = above / _place(pid, "memory" if above != ROOT else "").lstrip("/")
        self.folder = above / f"edgecap-faults-{pid}"
        try:
            self.folder.mkdir()
        except OSError as error:
            raise NotPossibleError(f"no group with a limit of memory can be made here ({error.strerror})") from error
        self._limit = next((self.folder / name for name in LIMITS if (self.folder / name).exists()), None)

    def enter(self, most: int) -> Self:
        """Let the process take at most so many bytes more. Raises NotPossibleError."""
        try:
            if self._limit is None:
                raise OSError(0, "the kernel does not count memory")
            self._limit.write_text(str(most))
            (self.folder / "cgroup.procs").write_text(str(self._pid))
        except OSError as error:
            self.leave()
            raise NotPossibleError(f"memory cannot be limited here ({error.strerror})") from error
        return self

    def leave(self) -> None:
        """End the limit and the group; the process goes back to where it was, unless it was ended."""
        with suppress(OSError):
            (self._before / "cgroup.procs").write_text(str(self._pid))
        with suppress(OSError):
            self.folder.rmdir()


def _place(pid: int, controller: str) -> str:
    """The group of a process, as a path below that controller's mount."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    places = {names: place for _, names, place in (line.split(":", 2) for line in lines)}
    return next((place for names, place in places.items() if controller in names.split(",")), "/")
