"""The newest events in memory, for browsers that connect or reconnect, and to search where there is no journal."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

from edgecap.live.events.event import Event
from edgecap.util.limits import MOST_EVENTS
from edgecap.web.events.search import Query

Document = dict[str, Any]
"""An event as `Event.document` writes it, with `sound`, the name of the file with its sound, or ""."""


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    """Of the last change."""
    event: Event
    sound: str

    def document(self) -> Document:
        return self.event.document(sound=self.sound)


class History:
    """The newest events as they are now, each with the number of its last change."""

    def __init__(self, most: int = MOST_EVENTS) -> None:
        self.number = 0
        """Of the last change."""
        self._most, self._forgotten = most, 0
        self._events: OrderedDict[int, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def record(self, event: Event, sound: str = "") -> int:
        """Store the newest state of an event, and the name of the file with its sound; the number of this change."""
        with self._lock:
            self.number += 1
            self._events[event.id] = _Entry(self.number, event, sound)
            if len(self._events) > self._most:
                self._forgotten = max(self._forgotten, self._events.popitem(last=False)[1].number)
            return self.number

    def shift(self, seconds: float) -> None:
        """Date all events so many seconds later."""
        with self._lock:
            for key, entry in self._events.items():
                event = entry.event
                dated = replace(event, began=event.began + seconds, ended=event.ended + seconds)
                self._events[key] = replace(entry, event=dated)

    def since(self, number: int) -> list[Document] | None:
        """Events that changed after a change, oldest first; None where some of them are no longer held."""
        if number < self._forgotten:
            return None
        return [entry.document() for entry in self._held() if entry.number > number]

    def latest(self, most: int) -> list[Document]:
        """The newest events, oldest first."""
        return [entry.document() for entry in self._held()[-most:]]

    def newest(self, query: Query, most: int) -> list[Event]:
        """As `EventStore.newest`."""
        return list(islice(filter(query.matches, (entry.event for entry in reversed(self._held()))), most))

    def next(self, query: Query, most: int, after: Event | None) -> list[Event]:
        """As `EventStore.next`."""
        least = 0 if after is None else after.id
        return list(islice((e.event for e in self._held() if e.event.id > least and query.matches(e.event)), most))

    def days(self, query: Query) -> list[tuple[str, int]]:
        """As `EventStore.days`."""
        began = (entry.event.began for entry in self._held() if query.matches(entry.event))
        return sorted(Counter(datetime.fromtimestamp(time).date().isoformat() for time in began).items(), reverse=True)

    def hours(self, query: Query) -> list[tuple[str, int, int]]:
        """As `EventStore.hours`."""
        began = (datetime.fromtimestamp(entry.event.began) for entry in self._held() if query.matches(entry.event))
        counts = Counter((time.date().isoformat(), time.hour) for time in began)
        return [(day, hour, counts[day, hour]) for day, hour in sorted(counts, key=lambda at: (at[0], -at[1]))[::-1]]

    def sources(self) -> list[str]:
        """As `EventStore.sources`."""
        return sorted({entry.event.source for entry in self._held()})

    def _held(self) -> list[_Entry]:
        with self._lock:
            return list(self._events.values())
