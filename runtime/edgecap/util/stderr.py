"""Silencing libraries that write to standard error.

A descriptor belongs to the process. So only one thread at a time redirects it: two at once could each save the other's
redirection as the original, and the process would stay silent.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress
from pathlib import Path

_TURN = threading.RLock()


@contextmanager
def silent_descriptor() -> Iterator[None]:
    """Discard what is written directly to file descriptor 2; does nothing where that is closed.

    Output of other threads is lost meanwhile too, so this is for moments only.
    """
    with _TURN:
        try:
            kept = os.dup(2)
        except OSError:
            yield
            return
        try:
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, 2)
            os.close(sink)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def silent_library() -> Iterator[None]:
    """Discard what a native library writes to standard error, by descriptor or through Python.

    For start-up messages that cannot be switched off; errors are raised, not written, so none is lost.
    """
    if sys.stderr is not None:
        sys.stderr.flush()
    with _TURN, Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere), silent_descriptor():
        yield


@contextmanager
def without_lines(*beginnings: str) -> Iterator[None]:
    """Leave out lines that native libraries write to file descriptor 2 from threads of their own, by how they begin.

    Their other lines come through, a moment later; what Python writes does not take this way. Does nothing where
    descriptor 2 is closed.
    """
    try:
        kept = os.dup(2)
    except OSError:
        yield
        return
    read, write = os.pipe()
    with _TURN:
        os.dup2(write, 2)
    os.close(write)
    filtering = threading.Thread(
        target=_filter, args=(read, kept, tuple(map(os.fsencode, beginnings))), name="edgecap stderr", daemon=True
    )
    filtering.start()
    try:
        with (
            os.fdopen(os.dup(kept), "w", buffering=1, errors="backslashreplace") as own,
            redirect_stderr(own) if _writes_to(sys.stderr, 2) else nullcontext(),
        ):
            yield
    finally:
        with _TURN:
            os.dup2(kept, 2)
        filtering.join(1.0)  # longer only where a child process still has the descriptor


def _writes_to(stream: object, descriptor: int) -> bool:
    try:
        return isinstance(stream, io.TextIOWrapper) and stream.fileno() == descriptor
    except (OSError, ValueError):
        return False


def _filter(read: int, kept: int, beginnings: tuple[bytes, ...]) -> None:
    """Write lines from `read` to `kept`, which is closed at the end, but for those that begin so."""
    with os.fdopen(read, "rb") as lines, os.fdopen(kept, "wb", buffering=0) as out:
        for line in lines:
            if not line.startswith(beginnings):
                with suppress(OSError):
                    out.write(line)
