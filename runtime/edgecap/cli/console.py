"""Printing to standard output and standard error, and what happens when that fails."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import select
import stat
import sys
from collections import deque
from contextlib import suppress

from edgecap.errors import OutputError
from edgecap.util.limits import MOST_WAITING
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
        _print("".join(f"{clean(line)}\n" for line in text.split("\n")))
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
        self.patient = False
        """Whether lines wait in memory while the disk is full, since other outputs must go on."""
        self._waiting: deque[str] = deque(maxlen=MOST_WAITING)
        self._lost = 0
        with suppress(OSError, ValueError):
            descriptor = sys.stdout.fileno()
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
                self._file = descriptor

    def write(self, line: str) -> None:
        """Print a line as `write` does; with a full disk it waits, where the output is `patient`."""
        if not self.patient:
            write(line)
            return
        self._lost += len(self._waiting) == MOST_WAITING
        self._waiting.append(f"{clean(line)}\n")
        failing = len(self._waiting) > 1
        try:
            while self._waiting:
                _print(self._waiting[0])
                self._waiting.popleft()
        except BrokenPipeError:
            _drop_output()
            raise SystemExit(0) from None
        except OSError as error:
            known = full_disk(error)
            if known is None:
                raise
            if not failing:
                say("warning", f"{known}; lines wait, and the other outputs go on")
        else:
            if failing:
                say("note", "standard output is written again")

    def complete(self) -> None:
        """Raise OutputError where lines are missing at the end."""
        if lacks := self._lost + len(self._waiting):
            raise OutputError(f"the output lacks {lacks} lines, since the disk was full; the other outputs have them")

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
    """Lines of a plain table, columns aligned, nothing cut off. A line break in a cell becomes a space."""
    cells = [[clean(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _print(text: str) -> None:
    """Write to standard output, past its buffer; a file that cannot take all of it gets nothing. Raises OSError."""
    sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED there is no buffer
    if not isinstance(raw, io.FileIO):  # something else stands in for it
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    data = memoryview(text.encode(sys.stdout.encoding, sys.stdout.errors or "strict"))
    written = 0
    try:
        while written < len(data):
            count = raw.write(data[written:])
            if count is None:  # it does not wait for its reader
                select.select([], [raw], [])
            else:
                written += count
    except OSError:
        if written:
            _take_back(raw.fileno(), written)
        raise


def _take_back(descriptor: int, size: int) -> None:
    """Cut what was written last off a file, so that no line is torn."""
    with suppress(OSError):
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and os.lseek(descriptor, 0, os.SEEK_CUR) == status.st_size:
            os.ftruncate(descriptor, status.st_size - size)
            os.lseek(descriptor, -size, os.SEEK_CUR)


def _drop_output() -> None:
    """Point standard output at /dev/null, so that what is still buffered does not fail again at exit."""
    with suppress(OSError, ValueError):
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)
