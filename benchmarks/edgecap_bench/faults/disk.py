"""A small disk of its own for a listener's outputs, which can be filled, locked, and lose what was not synced.

As root it is an ext4 file system in a file, whose power can be cut: the ioctl EXT4_IOC_SHUTDOWN stops it at once, with
nothing of the write cache written, and the next mount sees what a machine sees after a power cut. Where no such file
system can be mounted it is memory (tmpfs), and elsewhere a folder of the usual disk.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from edgecap.errors import MeasurementError

DISK_BYTES = 12_000_000
SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2
"""EXT4_IOC_SHUTDOWN, and its flag for: write nothing more, not even the file system's own log."""
PATIENCE = 20.0


class NotPossibleError(MeasurementError):
    """A fault cannot be made on this machine; it is left out, and the reason is told."""


class SmallDisk:
    """A folder `path`, below which is a small disk until this is closed."""

    def __init__(self, folder: Path) -> None:
        self.path, self._image = folder / "disk", folder / "disk.img"
        self.path.mkdir()
        self.kind = self._mount()
        """"ext4", "tmpfs" or ""."""

    def fill(self) -> Path:
        """Leave no byte; the file to remove. Raises NotPossibleError."""
        if not self.kind:
            raise NotPossibleError("no small disk could be mounted, which takes root")
        filler = self.path / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            for size in (65_536, 4_096, 256, 1):
                with suppress(OSError):
                    while file.write(bytes(size)):
                        pass
        return filler

    def lock(self, *, locked: bool) -> None:
        """Let no file on it be written, as on a disk that became read-only, or end that. Raises NotPossibleError."""
        self._needs_ext4()
        files = [str(path) for path in self.path.iterdir() if path.is_file()]
        if not _run("chattr", "+i" if locked else "-i", *files):
            raise NotPossibleError("chattr did not work")

    def cut_power(self) -> None:
        """Lose what was not synced, and start again. Nobody may have a file open. Raises MeasurementError."""
        self._needs_ext4()
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)
        deadline = time.monotonic() + PATIENCE
        while not _run("umount", str(self.path)):
            if time.monotonic() > deadline:
                raise MeasurementError(f"{self.path} is still in use")
            time.sleep(0.05)  # a program of the listener that was killed with it
        if self._mount() != "ext4":
            raise MeasurementError("the disk could not be mounted after the power cut")

    def _needs_ext4(self) -> None:
        if self.kind != "ext4":
            raise NotPossibleError("no ext4 disk in a file could be mounted, which takes root and loop devices")

    def _mount(self) -> str:
        fresh = not self._image.exists()
        if fresh:
            with self._image.open("wb") as file:
                file.truncate(DISK_BYTES)
        formatted = not fresh or _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))
        if formatted and _run("mount", "-o", "loop", str(self._image), str(self.path)):
            return "ext4"
        memory = _run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(self.path))
        return "tmpfs" if memory else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.kind == "ext4":
            with suppress(NotPossibleError):
                self.lock(locked=False)
        if self.kind:
            _run("umount", "--lazy", str(self.path))


def _run(*command: str) -> bool:
    """Whether a command exists and succeeds."""
    arguments: Sequence[str] = command
    try:
        return subprocess.run(arguments, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
