"""Events as lines: for people, one for each event; for programs, JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from edgecap.live.events.event import Change
from edgecap.live.sinks.base import Sink
from edgecap.util.files import to_json


class PeopleLines(Sink):
    """One line when an event begins; with `updates` also when its caption improves and when it ends."""

    def __init__(self, write: Callable[[str], None], *, updates: bool = False, named: bool = False) -> None:
        """`named` puts the microphone's name before each caption."""
        self._write, self._updates, self._named = write, updates, named
        self._texts: dict[int, str] = {}
        """Number of an open event to its last printed text; several microphones have several."""

    def on_event(self, change: Change) -> None:
        """Print it."""
        event = change.event
        name = f"{event.source}: " if self._named else ""
        if change.kind == "end":
            self._texts.pop(event.id, None)
            if self._updates:
                self._write(f"{clock_time(event.ended)}  {name}(end of: {event.text}, {event.end - event.start:.0f} s)")
        elif change.kind == "begin" or (self._updates and event.text != self._texts.get(event.id)):
            self._write(f"{clock_time(event.began)}  {name}{event.text}")
            self._texts[event.id] = event.text


class JsonLines(Sink):
    """One JSON object for the beginning and the end of each event; with `updates` for each caption."""

    def __init__(
        self, write: Callable[[str], None], *, model: str, updates: bool = False, audio_kept: bool = False
    ) -> None:
        self._write, self._updates, self._more = write, updates, {"model": model, "audio_kept": audio_kept}

    def on_event(self, change: Change) -> None:
        """Print it."""
        if change.kind != "update" or self._updates:
            self._write(document_line(change, **self._more))


def document_line(change: Change, **more: object) -> str:
    """A change as one line of JSON."""
    return to_json(change.event.document(kind=change.kind, **more))


def clock_time(unix: float) -> str:
    """Unix time as HH:MM:SS in local time."""
    return f"{datetime.fromtimestamp(unix).astimezone():%H:%M:%S}"
