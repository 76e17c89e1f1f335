"""Past events: the newest in memory, for browsers that connect or reconnect, and a journal's, to search."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from edgecap.errors import OutputError
from edgecap.live.events.event import Event

MOST_EVENTS = 1000
"""Held in memory: some 500 bytes each."""
MOST_RESULTS = 50
MOST_WORDS = 8
SEARCH_SECONDS = 3.0
"""Time that a search of a journal may take."""

Document = dict[str, Any]
"""An event as `Event.document` writes it."""


class History:
    """The newest events as they are now, each with the number of its last change."""

    def __init__(self, most: int = MOST_EVENTS) -> None:
        self.number = 0
        """Of the last change."""
        self._most, self._forgotten = most, 0
        self._events: OrderedDict[int, tuple[int, Event]] = OrderedDict()
        self._lock = threading.Lock()

    def record(self, event: Event) -> int:
        """Store the newest state of an event; the number of this change."""
        with self._lock:
            self.number += 1
            self._events[event.id] = (self.number, event)
            if len(self._events) > self._most:
                number, _ = self._events.popitem(last=False)[1]
                self._forgotten = max(self._forgotten, number)
            return self.number

    def shift(self, seconds: float) -> None:
        """Date all events so many seconds later."""
        with self._lock:
            for key, (number, event) in self._events.items():
                self._events[key] = (number, replace(event, began=event.began + seconds, ended=event.ended + seconds))

    def since(self, number: int) -> list[Document] | None:
        """Events that changed after a change, oldest first; None where some of them are no longer held."""
        if number < self._forgotten:
            return None
        return [event.document() for changed, event in self._held() if changed > number]

    def newest(self, most: int) -> list[Document]:
        """The newest events, oldest first."""
        return [event.document() for _, event in self._held()[-most:]]

    def search(self, words: list[str], before: float) -> list[Document]:
        """Events begun before a Unix time whose text has all the words, in any case; newest first."""
        matching = (
            event
            for _, event in reversed(self._held())
            if event.began < before and all(word in event.text.lower() for word in words)
        )
        return [event.document() for event in islice(matching, MOST_RESULTS)]

    def _held(self) -> list[tuple[int, Event]]:
        with self._lock:
            return list(self._events.values())


def search_journal(path: str, words: list[str], before: float) -> list[Document]:
    """As `History.search`, over all events of a journal, which is opened read-only. Raises OutputError."""
    condition = " AND ".join(["began < ?", *["text LIKE ? ESCAPE '\\'"] * len(words)])
    patterns = ["%" + word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%" for word in words]
    deadline = time.monotonic() + SEARCH_SECONDS
    try:
        database = sqlite3.connect(Path(path).expanduser().resolve().as_uri() + "?mode=ro", uri=True, timeout=1.0)
        try:
            database.set_progress_handler(lambda: time.monotonic() > deadline, 100_000)
            rows = database.execute(
                "SELECT id, start, stop, began, ended, text, score, level_dbfs, updates, open, source FROM events "
                f"WHERE {condition} ORDER BY began DESC LIMIT ?",
                (before, *patterns, MOST_RESULTS),
            ).fetchall()
        finally:
            database.close()
    except sqlite3.Error as error:
        raise OutputError(f"the journal {path} cannot be searched ({error}); try again") from error
    return [
        Event(number, start, stop, began, ended, text, score, level, updates, bool(still_open), source).document()
        for number, start, stop, began, ended, text, score, level, updates, still_open, source in rows
    ]


def words_of(text: str) -> list[str]:
    """The words of a search, in lower case."""
    return text.lower().split()[:MOST_WORDS]
