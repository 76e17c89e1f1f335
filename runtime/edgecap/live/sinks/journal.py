"""Events in a SQLite file that keeps them for a while.

An event is stored when it begins, before any other output gets it, so that none that was shown is lost; it is
updated every half minute and when it ends. On a full disk events go into space that the file holds; when that is used
up, and while another program holds the file, they wait in memory, and are stored when that is over; nothing else waits
for it. The next start closes what a killed listener left open. A damaged journal is put aside under another name, and a
new one is begun.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from edgecap.errors import OutputError
from edgecap.live.events.event import Change, Event
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.sinks.base import Attempts, Sink, SinkContext
from edgecap.types import Notify
from edgecap.util.files import to_json
from edgecap.util.limits import MOST_WAITING
from edgecap.util.parsing import parse_duration
from edgecap.util.sqlite import (
    Damaged,
    check,
    explained,
    give_back_space,
    hold_space,
    is_damage,
    is_held,
    may_have_been,
    readable_errors,
    refuse_read_only,
)

APPLICATION = 0x65646763
"""SQLite's application_id of a journal: "edgc"."""
VERSION = 1
UPDATE_SECONDS = 30.0
CLEAN_SECONDS = 3600.0
OPEN_SECONDS, BUSY_SECONDS = 2.0, 0.05
"""Longest wait for another program that writes to the file: at the start and the end, and while listening."""
RETRY_SECONDS = 1.0
"""Time until what waits is tried again."""
MOST_CHECKED = 1 << 26
"""A larger file, bytes, is not checked at the start, which would take seconds."""
LOG_BYTES, LOG_PAGES = 1 << 20, 64
"""Size to which the write-ahead log is cut, and from which on it is written into the file."""
HELD_PAGES = 96
"""Free pages (of 4 kB) that file and log hold, for some hundred events on a full disk; more than `LOG_PAGES`."""
SCHEMA = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    began REAL NOT NULL, ended REAL NOT NULL, start REAL NOT NULL, stop REAL NOT NULL,
    text TEXT NOT NULL, score REAL NOT NULL, level_dbfs REAL NOT NULL, updates INTEGER NOT NULL,
    open INTEGER NOT NULL, source TEXT NOT NULL, model TEXT NOT NULL,
    named TEXT NOT NULL DEFAULT '', sounds TEXT NOT NULL DEFAULT '[]', confidence REAL
);
CREATE INDEX events_by_time ON events (began);
"""
ADDED = {"named": "TEXT NOT NULL DEFAULT ''", "sounds": "TEXT NOT NULL DEFAULT '[]'", "confidence": "REAL"}
"""What older journals lack. `confidence` is the calibrated probability, NULL where the model does not know it."""
TIMES, WORDS = ("began", "ended", "start", "stop"), ("text", "score", "level_dbfs")
COLUMNS = (*TIMES, *WORDS, "updates", "open", "source", "model", *ADDED)
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
        """Open or create it; where another program holds it, events wait until that is over.

        `keep` is a duration such as "30d". Raises OutputError, ConfigError.
        """
        self._path, self._notify, self._model, self._wall, self._clock = path, notify, model, wall, clock
        self._keep = parse_duration(keep)
        self._rows: dict[int, int] = {}
        self._stored: dict[int, float] = {}
        self._waiting: dict[int, Event] = {}
        self._lost = 0
        self._first_row: int | None = None
        self._try = Attempts(
            notify,
            (sqlite3.Error, OSError, MemoryError),
            lambda error: f"the journal {path} cannot be written {explained(error)}; until then events wait in memory",
            f"the journal {path} is written again",
        )
        self._cleaned = self._tried = float("-inf")
        self._file = Path(path).expanduser()
        self._is_open, self._patience = False, OPEN_SECONDS
        try:
            self._open()
        except (sqlite3.Error, OSError) as error:
            if not is_held(error):
                raise OutputError(f"the journal {path} cannot be used {explained(error)}") from error
            self._try.failed(error)
        self._patience = BUSY_SECONDS

    def on_event(self, change: Change) -> None:
        """Store it; what cannot be stored is reported, and tried again with the next change."""
        event = change.event
        if change.kind == "update" and self._clock() - self._stored.get(event.id, float("-inf")) < UPDATE_SECONDS:
            return
        self._waiting[event.id] = event
        if len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
            self._lost += 1
        self._store_waiting()

    def on_status(self, status: StatusSnapshot) -> None:
        """Store what waits, and delete what is too old, in quiet too."""
        if (self._waiting or not self._is_open) and self._clock() - self._tried >= RETRY_SECONDS:
            self._store_waiting()
        if self._is_open and self._clock() - self._cleaned > CLEAN_SECONDS:
            self._try(self._clean)

    def on_clock_set(self, seconds: float) -> None:
        """Date what this run has stored by the new clock, or it would be deleted as old."""
        self._cleaned = self._clock()  # which may be the wrong one: nothing is deleted for an hour
        if self._first_row is not None:
            self._try(lambda: self._move(seconds))

    def _move(self, seconds: float) -> None:
        refuse_read_only(self._file)
        moved = "UPDATE events SET began = began + ?, ended = ended + ? WHERE id >= ?"
        self._database.execute(moved, (seconds, seconds, self._first_row))

    def close(self) -> None:
        """Store what waits and close the file."""
        self._patience = OPEN_SECONDS
        if self._waiting:
            with suppress(sqlite3.Error):
                self._database.execute(f"PRAGMA busy_timeout = {round(1000 * OPEN_SECONDS)}")
            self._store_waiting()
        if lacks := self._lost + len(self._waiting):
            self._notify("warning", f"the journal {self._path} lacks {lacks} events")
        with suppress(OSError):
            refuse_read_only(self._file)
            self._database.close()

    def _store_waiting(self) -> None:
        """Store what waits, the oldest first; what was stored waits no more. A failure is reported."""
        self._tried = self._clock()
        self._try(self._store_all)

    def _store_all(self) -> None:
        """Raises sqlite3.Error, OSError."""
        self._follow()
        refuse_read_only(self._file)
        try:
            for number in list(self._waiting):
                self._store(self._waiting[number])
                del self._waiting[number]
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._database.close()
            self._begin_anew(error)
            self._store_all()

    def _follow(self) -> None:
        """Begin a new file where the old one was moved, removed or emptied. Raises sqlite3.Error, OSError."""
        if not self._is_open:
            self._open()
            return
        try:
            at_path = self._file.stat()
        except FileNotFoundError:
            at_path = None
        if at_path is not None and os.path.samestat(at_path, self._place) and at_path.st_size:
            return
        if at_path is not None and not at_path.st_size:
            self._file.rename(self._aside())  # closing it may write into it again
        with suppress(sqlite3.Error):
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # into the file that was moved
        self._database.close()
        if not self._file.exists():
            self._remove_log()
        self._notify("warning", f"the journal {self._path} was moved, removed or emptied; a new one is begun")
        self._open()

    def _open(self) -> None:
        """Open or create the file; a damaged one is put aside. Raises sqlite3.Error, OSError, OutputError."""
        try:
            self._connect()
        except sqlite3.DatabaseError as error:
            if not is_damage(error) or not may_have_been(self._file, "events"):
                raise
            self._begin_anew(error)

    def _begin_anew(self, error: sqlite3.Error) -> None:
        """Put the damaged file aside and create another."""
        aside = self._aside()
        self._file.rename(aside)
        self._remove_log()
        self._notify(
            "warning",
            f"the journal {self._path} is damaged ({error}) and was put aside as {aside.name}; a new one is begun",
        )
        self._connect()

    def _aside(self) -> Path:
        """Another name for a damaged file."""
        return self._file.with_name(f"{self._file.name}.damaged-{datetime.fromtimestamp(self._wall()):%Y%m%dT%H%M%S}")

    def _remove_log(self) -> None:
        """Remove the write-ahead log of a file that is gone: it would be read into the next one."""
        for ending in ("-wal", "-shm"):
            self._file.with_name(self._file.name + ending).unlink(missing_ok=True)

    def _connect(self) -> None:
        """Open the file, which only its owner may read where it is new. Raises sqlite3.Error, OSError, OutputError."""
        self._rows.clear()
        self._stored.clear()
        self._first_row = None
        os.close(os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600))
        # Steps of an asynchronous listener come from one thread after the other, never from two at once.
        self._database = sqlite3.connect(
            self._file, timeout=self._patience, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare()
            self._cleaned = self._clock()  # nothing is deleted in the first hour: the clock may be wrong
            self._database.execute(f"PRAGMA busy_timeout = {round(1000 * BUSY_SECONDS)}")
            self._place, self._is_open = self._file.stat(), True
        except BaseException:
            self._database.close()
            raise

    @readable_errors()
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
        elif self._file.stat().st_size <= MOST_CHECKED and (problem := check(database)):
            raise Damaged(problem)
        for name in ADDED.keys() - {row[1] for row in database.execute("PRAGMA table_info(events)")}:
            database.execute(f"ALTER TABLE events ADD COLUMN {name} {ADDED[name]}")
        database.execute("PRAGMA synchronous = FULL")
        database.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        database.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        database.execute("UPDATE events SET open = 0 WHERE open = 1")
        hold_space(database, HELD_PAGES)

    @readable_errors()
    def _store(self, event: Event) -> None:
        times, words = (event.began, event.ended, event.start, event.end), (event.text, event.score, event.level_dbfs)
        added = (event.named, to_json([sound.document() for sound in event.sounds]), event.probability)
        values = (*times, *words, event.updates, int(event.open), event.source, self._model, *added)
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

    @readable_errors()
    def _clean(self) -> None:
        """Delete what is older than `keep`, and give the space back, except what is held for a full disk."""
        self._cleaned = self._clock()
        refuse_read_only(self._file)
        self._database.execute("DELETE FROM events WHERE ended < ? AND open = 0", (self._wall() - self._keep,))
        give_back_space(self._database, HELD_PAGES)


def open_journal(context: SinkContext) -> Sink:
    """As configured by output.journal and output.keep. Raises OutputError, ConfigError."""
    output = context.config.output
    return Journal(str(output.journal), output.keep, context.notify, model=context.model)
