"""Events in a SQLite file that keeps them for a while.

An event is stored when it begins, before any other output gets it, so that none that was shown is lost; it is
updated every half minute and when it ends. While the disk is full, events wait in memory, and are stored
when there is room again. The next start closes what a killed listener left open.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from edgecap.errors import OutputError
from edgecap.live.events.event import Change, Event
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.sinks.base import Attempts, Sink, SinkContext
from edgecap.types import Notify
from edgecap.util.parsing import parse_duration

APPLICATION = 0x65646763
"""SQLite's application_id of a journal: "edgc"."""
VERSION = 1
UPDATE_SECONDS = 30.0
CLEAN_SECONDS = 3600.0
MOST_WAITING = 1000
"""Events that wait in memory while they cannot be stored; the oldest go first."""
SCHEMA = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    began REAL NOT NULL, ended REAL NOT NULL, start REAL NOT NULL, stop REAL NOT NULL,
    text TEXT NOT NULL, score REAL NOT NULL, level_dbfs REAL NOT NULL, updates INTEGER NOT NULL,
    open INTEGER NOT NULL, source TEXT NOT NULL, model TEXT NOT NULL
);
CREATE INDEX events_by_time ON events (began);
"""
COLUMNS = ("began", "ended", "start", "stop", "text", "score", "level_dbfs", "updates", "open", "source", "model")
INSERT = f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
UPDATE = f"UPDATE events SET {', '.join(f'{name} = ?' for name in COLUMNS)} WHERE id = ?"


class Journal(Sink):
    """Stores events in the table `events`: times `began` and `ended` are Unix time, `start` and `stop` seconds."""

    def __init__(
        self,
        path: str,
        keep: str,
        notify: Notify,
        *,
        model: str,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open or create it; `keep` is a duration such as "30d". Raises OutputError, ConfigError."""
        self._path, self._notify, self._model, self._wall, self._clock = path, notify, model, wall, clock
        self._keep = parse_duration(keep)
        self._rows: dict[int, int] = {}
        self._stored: dict[int, float] = {}
        self._waiting: dict[int, Event] = {}
        self._first_row: int | None = None
        self._try = Attempts(
            notify,
            (sqlite3.Error,),
            lambda error: (
                f"the journal {path} cannot be written ({error}); free space: until then events wait in memory"
            ),
            f"the journal {path} is written again",
        )
        self._cleaned = float("-inf")
        try:
            # Steps of an asynchronous listener come from one thread after the other, never from two at once.
            self._database = sqlite3.connect(
                Path(path).expanduser(), timeout=2.0, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
                self._clean()
            except BaseException:
                self._database.close()
                raise
        except sqlite3.Error as error:
            raise OutputError(
                f"the journal {path} cannot be used ({error}); choose another place or free space"
            ) from error

    def on_event(self, change: Change) -> None:
        """Store it; what cannot be stored is reported, and tried again with the next change."""
        event = change.event
        if change.kind == "update" and self._clock() - self._stored.get(event.id, float("-inf")) < UPDATE_SECONDS:
            return
        self._waiting[event.id] = event
        if len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._try(self._store_waiting)

    def on_status(self, status: StatusSnapshot) -> None:
        """Delete what is too old, in quiet too."""
        if self._clock() - self._cleaned > CLEAN_SECONDS:
            self._try(self._clean)

    def on_clock_set(self, seconds: float) -> None:
        """Date what this run has stored by the new clock, or it would be deleted as old."""
        if self._first_row is not None:
            self._try(lambda: self._move(seconds))

    def close(self) -> None:
        """Store what waits and close the file."""
        if self._waiting:
            self._try(self._store_waiting)
        if self._waiting:
            self._notify("warning", f"the journal {self._path} lacks {len(self._waiting)} events")
        self._database.close()

    def _store_waiting(self) -> None:
        """Store what waits, the oldest first; what was stored waits no more."""
        for number in list(self._waiting):
            self._store(self._waiting[number])
            del self._waiting[number]

    def _move(self, seconds: float) -> None:
        self._database.execute(
            "UPDATE events SET began = began + ?, ended = ended + ? WHERE id >= ?", (seconds, seconds, self._first_row)
        )

    def _prepare(self) -> None:
        """Create the table in a new file, check an old one, close events left open. Raises OutputError."""
        database = self._database
        (application,), (version,) = (
            database.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        if database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(
                f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
            )
        elif (application, version) != (APPLICATION, VERSION):
            raise OutputError(f"{self._path} is not a journal of this version of edgecap; choose another file")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("UPDATE events SET open = 0 WHERE open = 1")

    def _store(self, event: Event) -> None:
        times, words = (event.began, event.ended, event.start, event.end), (event.text, event.score, event.level_dbfs)
        values = (*times, *words, event.updates, int(event.open), event.source, self._model)
        row = self._rows.get(event.id)
        if row is None:
            row = int(self._database.execute(INSERT, values).lastrowid or 0)
            self._first_row = self._first_row or row
            self._rows[event.id] = row
        else:
            self._database.execute(UPDATE, (*values, row))
        self._stored[event.id] = self._clock()
        if not event.open:  # nothing more will come of it
            del self._rows[event.id], self._stored[event.id]

    def _clean(self) -> None:
        """Delete what is older than `keep`, and give the space back."""
        self._cleaned = self._clock()
        self._database.execute("DELETE FROM events WHERE ended < ? AND open = 0", (self._wall() - self._keep,))
        self._database.execute("PRAGMA incremental_vacuum").fetchall()


def open_journal(context: SinkContext) -> Sink:
    """As configured by output.journal and output.keep. Raises OutputError, ConfigError."""
    output = context.config.output
    return Journal(str(output.journal), output.keep, context.notify, model=context.model)
