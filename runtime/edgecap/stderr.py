"""The standard error of libraries that write to it by themselves."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_library() -> Iterator[None]:
    """Keep what a native library writes to the descriptor of the standard error off the terminal.

    For greetings that cannot be switched off; errors are raised, not written, so nothing is lost.
    """
    if sys.stderr is not None:
        sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
