"""Events as subtitles (SRT, WebVTT) and as a table (CSV), written when they end.

Each event is one write, so a file is valid after every event; what a full disk refuses waits in memory and is written
when there is space again. Subtitles begin anew, since their times count from the start of listening; rows are appended
to a table.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Callable
from pathlib import Path

from edgecap.errors import OutputError
from edgecap.live.events.event import Change, Event, iso
from edgecap.live.sinks.base import Attempts, Sink, SinkContext
from edgecap.types import Notify

MOST_WAITING = 1000
"""Events that wait in memory while they cannot be written; the oldest go first."""
COLUMNS = ("began", "ended", "start", "end", "text", "score", "level_dbfs", "updates", "source")


class TextFile(Sink):
    """A file that gets one piece of text for each event that ended."""

    def __init__(
        self, path: str, render: Callable[[Event], str], notify: Notify, *, header: str = "", append: bool = False
    ) -> None:
        """Open it. Raises OutputError."""
        self._path, self._render, self._notify = path, render, notify
        self._attempt = Attempts(notify, (OSError,), self._explain)
        self._waiting: deque[bytes] = deque(maxlen=MOST_WAITING)
        try:
            self._file = Path(path).expanduser().open("ab" if append else "wb", buffering=0)
            try:
                self._begin(header, append)
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise OutputError(f"{path} cannot be written ({error.strerror}); choose another file") from error

    def on_event(self, change: Change) -> None:
        """Write an event that ended. A full disk is reported; what it refused is tried again with the next event."""
        if change.kind == "end":
            self._waiting.append(self._render(change.event).encode())
            self._attempt(self._write)

    def close(self) -> None:
        """Write what waits and close the file."""
        if self._waiting:
            self._attempt(self._write)
        if self._waiting:
            self._notify("warning", f"{self._path} lacks its last {len(self._waiting)} events")
        self._file.close()

    def _begin(self, header: str, append: bool) -> None:
        """Write the header, or check that an existing file has it. Raises OSError, OutputError."""
        if header and self._file.tell() == 0:
            self._waiting.append(header.encode())
            self._write()
        elif append and header and not _begins_with(self._path, header):
            raise OutputError(f"{self._path} has other columns than {header.strip()}; name another file")

    def _explain(self, error: Exception) -> str:
        reason = getattr(error, "strerror", error)
        return f"{self._path} cannot be written ({reason}); free space: until then events wait in memory"

    def _write(self) -> None:
        """Write what waits, the oldest first; a full disk may take a part of one event."""
        while self._waiting:
            data = self._waiting[0]
            written = self._file.write(data) or 0
            if written < len(data):
                self._waiting[0] = data[written:]
            else:
                self._waiting.popleft()


def srt(path: str, notify: Notify, *, named: bool = False) -> TextFile:
    """Subtitles for players. `named` adds the microphone's name."""
    numbers = iter(range(1, 1 << 62))

    def entry(event: Event) -> str:
        name = f"[{event.source}] " if named else ""
        return f"{next(numbers)}\n{span(event, ',')}\n{name}{event.text}\n\n"

    return TextFile(path, entry, notify)


def vtt(path: str, notify: Notify, *, named: bool = False) -> TextFile:
    """Subtitles for web pages; reserved characters in a caption are escaped. `named` adds the microphone's name."""

    def cue(event: Event) -> str:
        voice = f"<v {_escaped(event.source)}>" if named else ""
        return f"{span(event, '.')}\n{voice}{_escaped(event.text)}\n\n"

    return TextFile(path, cue, notify, header="WEBVTT\n\n")


def table(path: str, notify: Notify) -> TextFile:
    """Comma-separated values with a header; rows are appended."""

    def row(event: Event) -> str:
        times = [iso(event.began), iso(event.ended), f"{event.start:.3f}", f"{event.end:.3f}"]
        return _csv([*times, event.text, f"{event.score:.4f}", f"{event.level_dbfs:.1f}", event.updates, event.source])

    return TextFile(path, row, notify, header=_csv(COLUMNS), append=True)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def span(event: Event, point: str) -> str:
    """START --> END of a subtitle; an empty one lasts a tenth of a second."""
    return f"{_stamp(event.start, point)} --> {_stamp(max(event.end, event.start + 0.1), point)}"


def _begins_with(path: str, header: str) -> bool:
    with Path(path).expanduser().open(encoding="utf-8", errors="replace", newline="") as file:
        return file.readline() == header


def _stamp(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _csv(values: object) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)  # type: ignore[arg-type]
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
