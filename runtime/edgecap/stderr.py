"""The standard error of libraries that write to it by themselves."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path


@contextmanager
def silent_library() -> Iterator[None]:
    """Keep what a native library writes to the standard error, by descriptor or through Python, off the terminal.

    For greetings that cannot be switched off; errors are raised, not written, so nothing is lost.
    """
    if sys.stderr is not None:
        sys.stderr.flush()
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        kept = os.dup(2)
        try:
            os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
