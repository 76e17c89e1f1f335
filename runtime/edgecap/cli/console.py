"""Printing to standard output and standard error, and what happens when that fails."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import stat
import sys
from contextlib import suppress

from edgecap.errors import OutputError
from edgecap.util.text import clean

COMPLETION = "_EDGECAP_COMPLETE"
"""The variable in which a shell asks a command line for completions."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


def prepare_streams() -> None:
    """Let any file name be printed in any locale: characters that cannot be encoded are escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write(text: str) -> None:
    """Print a line of results, or several, at once; control characters are escaped.

    A closed pipe ends the command quietly with success; a full disk raises OutputError.
    """
    try:
        sys.stdout.write("".join(f"{clean(line)}\n" for line in text.split("\n")))
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        raise SystemExit(0) from None
    except OSError as error:
        _drop_output()
        raise full_disk(error) or error from error


class RedirectedOutput:
    """Standard output of a command that runs for weeks, where it is a file that others rotate, empty or remove."""

    def __init__(self) -> None:
        """Write at the end of the file, wherever that is: an emptied one would else begin with a hole of zeros."""
        self._file: int | None = None
        self._reported = False
        with suppress(OSError, ValueError):
            descriptor = sys.stdout.fileno()
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
                self._file = descriptor

    def check(self) -> None:
        """Say once that the file was removed: nobody can read what is printed from then on."""
        if self._file is not None and not self._reported and os.fstat(self._file).st_nlink == 0:
            self._reported = True
            say("warning", "the file of standard output was removed; what is printed is lost until you start it again")


def say(kind: str, message: str) -> None:
    """Print one line to standard error: "edgecap: KIND: MESSAGE"."""
    with suppress(OSError, ValueError):
        print(f"edgecap: {kind}: {clean(message)}", file=sys.stderr, flush=True)  # noqa: T201


def full_disk(error: OSError) -> OutputError | None:
    """The error to show where writing failed because the disk is full or failing; None for any other failure."""
    if error.errno not in _FULL:
        return None
    return OutputError(f"the output cannot be written ({error.strerror}); free space or write elsewhere")


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss, with tenths where they are not whole."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{text}:{rest // 10:02d}" + (f".{rest % 10}" if rest % 10 else "")


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a plain table, columns aligned, nothing cut off."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]


def _drop_output() -> None:
    """Point standard output at /dev/null, so that what is still buffered does not fail again at exit."""
    with suppress(OSError, ValueError):
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)
