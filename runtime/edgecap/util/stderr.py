"""Silencing libraries that write to standard error.

A descriptor belongs to the process. So only one thread at a time redirects it: two at once could each save the other's
redirection as the original, and the process would stay silent.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
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
