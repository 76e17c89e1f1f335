"""Events as subtitles (SRT, WebVTT) and as a table (CSV), written when they end.

Each event is one write, so a file is valid after every event, and it is synced, so that a power cut takes none that was
shown. What a full disk refuses waits in memory and is written when there is space again. Subtitles begin anew, since
their times count from the start of listening; rows are appended to a table. A file that is moved, removed, emptied or
cut by something else is noticed before the next event is written.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable
from io import FileIO
from pathlib import Path

from edgecap.errors import OutputError, reason_of
from edgecap.live.events.event import Change, Event, iso
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.sinks.base import Attempts, Sink, SinkContext
from edgecap.types import Notify
from edgecap.util.limits import MOST_WAITING
from edgecap.util.text import cell, clean

MOST_HEAD = 4096
"""Characters of a line that may be the head of a table."""
RETRY_SECONDS = 1.0
"""Time until what waits is tried again."""
COLUMNS = ("began", "ended", "start", "end", "text", "score", "level_dbfs", "updates", "source", "named", "confidence")


class TextFile(Sink):
    """A file that gets one piece of text for each event that ended. Only its owner may read a new one."""

    def __init__(
        self,
        path: str,
        render: Callable[[Event], str],
        notify: Notify,
        *,
        header: str = "",
        append: bool = False,
        separator: str = "\n",
    ) -> None:
        """Open it; `separator` is written after text that something else left incomplete. Raises OutputError."""
        self._path, self._render, self._notify = path, render, notify
        self._header, self._separator = header.encode(), separator.encode()
        self._attempt = Attempts(notify, (OSError, MemoryError), self._explain, f"{path} is written again")
        self._waiting: deque[bytes] = deque(maxlen=MOST_WAITING)
        self._lost = 0
        self._size, self._torn_by_us = 0, False
        self._tried = float("-inf")
        try:
            self._file = self._open(empty=not append)
            try:
                self._complete_head()
                if not (append and header) or os.fstat(self._file.fileno()).st_size == 0 or self._has_header():
                    self._complete()
                else:
                    raise OutputError(f"{path} has other columns than {header.strip()}; name another file")
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise OutputError(f"{path} cannot be written ({error.strerror}); choose another file") from error

    def on_event(self, change: Change) -> None:
        """Write an event that ended. A full disk is reported; what it refused is tried again every second."""
        if change.kind == "end":
            self._lost += len(self._waiting) == MOST_WAITING
            self._waiting.append(self._render(change.event).encode())
            self._attempt(self._write)

    def on_status(self, status: StatusSnapshot) -> None:
        """Write what waits, in quiet too."""
        if self._waiting and time.monotonic() - self._tried >= RETRY_SECONDS:
            self._attempt(self._write)

    def close(self) -> None:
        """Write what waits and close the file."""
        if self._waiting:
            self._attempt(self._write)
        if lacks := self._lost + len(self._waiting):
            self._notify("warning", f"{self._path} lacks {lacks} events")
        self._file.close()

    def _open(self, *, empty: bool = False) -> FileIO:
        """Open the file for appending; only its owner may read a new one. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if empty else 0)
        return FileIO(os.open(Path(self._path).expanduser(), flags, 0o600), "a+")

    def _has_header(self) -> bool:
        """Whether the file begins as a table of events, also if a spreadsheet saved it with BOM, CRLF or quotes."""
        with Path(self._path).expanduser().open(encoding="utf-8-sig", errors="replace", newline="") as file:
            return next(csv.reader([file.readline(MOST_HEAD)]), []) == next(csv.reader([self._header.decode()]))

    def _explain(self, error: Exception) -> str:
        full = getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        advice = "free space" if full else "check its permissions and the disk"
        return f"{self._path} cannot be written ({reason_of(error)}); {advice}: until then events wait in memory"

    def _write(self) -> None:
        """Write what waits, the oldest first, and sync it; a full disk may take a part of one event."""
        self._tried = time.monotonic()
        self._follow()
        self._complete()
        while self._waiting:
            data = self._waiting[0]
            written = self._append(data)
            if written < len(data):
                self._waiting[0] = data[written:]
            else:
                self._waiting.popleft()
        if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            os.fsync(self._file.fileno())

    def _append(self, data: bytes) -> int:
        """Write once; the number of bytes that were taken. Raises OSError."""
        written = self._file.write(data) or 0
        self._torn_by_us = written < len(data)
        self._size = os.fstat(self._file.fileno()).st_size
        return written

    def _follow(self) -> None:
        """Begin a new file where the old one was moved or removed. Raises OSError, OutputError."""
        own = os.fstat(self._file.fileno())
        if not stat.S_ISREG(own.st_mode):
            return
        try:
            at_path = Path(self._path).expanduser().stat()
        except FileNotFoundError:
            at_path = None
        if at_path is None or not os.path.samestat(own, at_path):
            file = self._open()
            self._file.close()
            self._file, self._size, self._torn_by_us = file, 0, False
            self._notify("warning", f"{self._path} was moved or removed; going on in a new file of that name")
        elif own.st_size < self._size:
            self._torn_by_us = False
            self._notify("warning", f"{self._path} was emptied or cut; going on in what is left of it")

    def _complete(self) -> None:
        """Write the header to an empty file, and end a line that something else left incomplete. Raises OSError."""
        self._complete_head()
        size = os.fstat(self._file.fileno()).st_size
        if size == 0 and self._header:
            written = self._append(self._header)
            if written < len(self._header):
                self._file.truncate(0)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        elif size and not self._torn_by_us and os.pread(self._file.fileno(), 1, size - 1) != b"\n":
            self._append(self._separator)

    def _complete_head(self) -> None:
        """Empty a file that holds a part of the header and no more, as a kill or a full disk leaves it."""
        size = os.fstat(self._file.fileno()).st_size
        if 0 < size < len(self._header) and self._header.startswith(os.pread(self._file.fileno(), size, 0)):
            self._file.truncate(0)


def srt(path: str, notify: Notify, *, named: bool = False) -> TextFile:
    """Subtitles for players. `named` adds the microphone's name."""
    numbers = iter(range(1, 1 << 62))

    def entry(event: Event) -> str:
        name = f"[{clean(event.source)}] " if named else ""
        return f"{next(numbers)}\n{span(event, ',')}\n{name}{clean(event.text)}\n\n"

    return TextFile(path, entry, notify, separator="\n\n")


def vtt(path: str, notify: Notify, *, named: bool = False) -> TextFile:
    """Subtitles for web pages; reserved characters in a caption are escaped. `named` adds the microphone's name."""

    def cue(event: Event) -> str:
        voice = f"<v {_escaped(event.source)}>" if named else ""
        return f"{span(event, '.')}\n{voice}{_escaped(event.text)}\n\n"

    return TextFile(path, cue, notify, header="WEBVTT\n\n", separator="\n\n")


def table(path: str, notify: Notify) -> TextFile:
    """Comma-separated values with a header; rows are appended."""
    return TextFile(path, csv_row, notify, header=csv_line(COLUMNS), append=True)


def csv_row(event: Event) -> str:
    """A line of a table of events, with the `COLUMNS`."""
    times = [iso(event.began), iso(event.ended), f"{event.start:.3f}", f"{event.end:.3f}"]
    scores = [f"{event.score:.4f}", f"{event.level_dbfs:.1f}"]
    named = (cell(event.source), event.named, f"{event.confidence:.3f}")
    return csv_line([*times, cell(event.text), *scores, event.updates, *named])


def _escaped(text: str) -> str:
    return clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def span(event: Event, point: str) -> str:
    """START --> END of a subtitle; an empty one lasts a tenth of a second."""
    return f"{_stamp(event.start, point)} --> {_stamp(max(event.end, event.start + 0.1), point)}"


def _stamp(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def csv_line(values: Iterable[object]) -> str:
    """Values as a line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def open_srt(context: SinkContext) -> Sink:
    """As configured by output.srt. Raises OutputError."""
    return srt(str(context.config.output.srt), context.notify, named=context.several)


def open_vtt(context: SinkContext) -> Sink:
    """As configured by output.vtt. Raises OutputError."""
    return vtt(str(context.config.output.vtt), context.notify, named=context.several)


def open_csv(context: SinkContext) -> Sink:
    """As configured by output.csv. Raises OutputError."""
    return table(str(context.config.output.csv), context.notify)
