"""Pipes and standard input, which cannot seek, as files without a name."""

from __future__ import annotations

import io
import select
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from edgecap.errors import AudioError, OutputError, reason_of
from edgecap.util.limits import MOST_SPOOLED

NOTICE_MILLISECONDS = 500
"""Longest time until a signal is noticed while nothing comes."""


def spool(
    source: IO[bytes] | io.RawIOBase, name: str, stack: ExitStack, advice: str = "pipe a sound file into it"
) -> Path:
    """Copy a stream that cannot seek into a file without a name, which is gone when the stack or the process ends.

    `advice` is what to do where there is no sound in it.

    Raises AudioError where it is empty or too large, OutputError where it cannot be stored.
    """
    size = 0
    try:
        target = stack.enter_context(tempfile.TemporaryFile(prefix="edgecap-"))  # noqa: SIM115 - the stack closes it
        while block := _read(source, name, advice):
            size += len(block)
            if size > MOST_SPOOLED:
                raise AudioError(f"{name} is larger than {MOST_SPOOLED >> 30} GiB; use a file instead of a pipe")
            target.write(block)
        target.flush()
    except OSError as error:
        raise OutputError(
            f"{name} cannot be stored in {tempfile.gettempdir()} ({reason_of(error)}); free space or set "
            "TMPDIR to a folder with more"
        ) from error
    if size == 0:
        raise AudioError(f"{name} is empty; {advice}")
    return Path(f"/proc/self/fd/{target.fileno()}")


def _read(source: IO[bytes] | io.RawIOBase, name: str, advice: str) -> bytes:
    """The next bytes; none at the end."""
    file: IO[bytes] | io.RawIOBase = getattr(source, "raw", source)  # a buffered reader would wait for all of them
    try:
        while True:
            if isinstance(file, io.FileIO):
                _wait(file)
            block: bytes | None = file.read(1 << 20)
            if block is not None:  # else a pipe that does not block, and is empty at the moment
                return block
    except OSError as error:
        raise AudioError(f"{name} cannot be read ({reason_of(error)}); {advice}") from error


def _wait(file: io.FileIO) -> None:
    """Wait until the file has something or is at its end.

    In pieces: a signal that comes just before a wait begins is otherwise not noticed until it is over.
    """
    poll = select.poll()
    poll.register(file, select.POLLIN)
    while not poll.poll(NOTICE_MILLISECONDS):
        pass
