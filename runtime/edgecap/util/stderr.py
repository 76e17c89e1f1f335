"""The standard error of libraries that write to it by themselves.

A descriptor belongs to the whole process. So one thread at a time turns it aside: two that did so at once could each
take the other's silence for what was there before, and the process would stay mute.
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
    """Keep what is written straight to file descriptor 2 off the terminal; where it is closed there is nothing to do.

    What other threads write there meanwhile is lost too, so this is for moments only.
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
    """Keep what a native library writes to the standard error, by descriptor or through Python, off the terminal.

    For greetings that cannot be switched off; errors are raised, not written, so nothing is lost.
    """
    if sys.stderr is not None:
        sys.stderr.flush()
    with _TURN, Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere), silent_descriptor():
        yield
