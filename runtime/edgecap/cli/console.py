"""What goes to the two standard streams, and what happens when they refuse it."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

from edgecap.errors import OutputError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


def prepare_streams() -> None:
    """Let any file name be printed in any locale: what cannot be encoded is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write(line: str) -> None:
    """Print one line of results at once.

    A reader that has gone away ends the command quietly with success; a full disk raises OutputError.
    """
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        raise typer.Exit(0) from None
    except OSError as error:
        _drop_output()
        raise full_disk(error) or error from error


def printable(name: str) -> str:
    """A file's name on one line, whatever is in it."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def say(kind: str, message: str) -> None:
    """Print one line to standard error: "edgecap: KIND: MESSAGE"."""
    with suppress(OSError, ValueError):
        print(f"edgecap: {kind}: {' '.join(message.split())}", file=sys.stderr, flush=True)  # noqa: T201


def full_disk(error: OSError) -> OutputError | None:
    """The error to show where writing failed for want of space; None for any other failure."""
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


class Bar:
    """A progress bar on standard error: only on a terminal and only for long work."""

    def __init__(self, total: int, wanted: bool) -> None:
        """`total` is the number of files; `wanted` whether it is clear already that the work is long."""
        self._total, self._wanted = total, wanted
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def at(self, done: float, name: str, *, wanted: bool = False) -> None:
        """Move to `done` files (with fractions), now at the file `name`; `wanted` brings up the bar."""
        if (wanted or self._wanted) and self._progress is None and sys.stderr.isatty():
            self._start()
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, description=printable(name))

    def write(self, line: str) -> None:
        """Print a line of results."""
        with self._aside(sys.stdout.isatty()):
            write(line)

    def say(self, kind: str, message: str) -> None:
        """Print a line to standard error."""
        with self._aside(True):
            say(kind, message)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    @contextmanager
    def _aside(self, shared: bool) -> Iterator[None]:
        """Take the bar off the terminal while something else is printed there."""
        if self._progress is None or not shared:
            yield
            return
        self._progress.stop()
        yield
        self._progress.start()

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=self._total)
        self._progress.start()


def _drop_output() -> None:
    """Point standard output at nothing, so that what is still buffered does not fail again at exit."""
    with suppress(OSError, ValueError):
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)
