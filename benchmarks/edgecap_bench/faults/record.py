"""What listeners announced on standard output, against what their journal and their table hold."""

from __future__ import annotations

import csv
import json
import math
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

MOST_MISDATED = 2.0
"""Seconds by which the dates of a listener may differ from the place in its sound."""
Beginning = tuple[str, int]
"""Of an event: its microphone, and when, in milliseconds of Unix time or of its sound."""
Place = tuple[str, str, int]
"""An output and the beginning of an event that it lacks, or has twice."""


class Record:
    """Events of all listeners that wrote to one disk, one after the other."""

    def __init__(self, disk: Path, *, dated: bool = True) -> None:
        """Events are told apart by their dates; where a clock is set, by their place in the sound of one listener."""
        self.journal, self.table, self._dated = disk / "events.db", disk / "events.csv", dated
        self.changed = threading.Condition()
        self.count = 0
        """Events that were announced."""
        self.arrived = list[tuple[float, float]]()
        """Of each, where in the sound it begins, seconds, and when it was announced, on the monotonic clock."""
        self._begun, self._ended = list[tuple[int, Beginning]](), list[Beginning]()
        self._counted, self._counted_twice = set[Place](), set[Place]()

    def read(self, stream: IO[bytes], run: int) -> None:
        """Note what listener number `run` announces, until it ends."""
        for line in stream:
            with suppress(ValueError):  # a line that a killed listener did not end
                event, now = json.loads(line), time.monotonic()
                with self.changed:
                    if event["kind"] == "begin":
                        self._begun.append((run, self._key(event)))
                        self.arrived.append((float(event["start"]), now))
                        self.count += 1
                    elif event["kind"] == "end":
                        self._ended.append(self._key(event))
                    self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def lost(self, *, table: bool = True) -> set[Place]:
        """Announced events that no journal has, and ended ones that no table has; less those of earlier rounds."""
        with self.changed:  # before the outputs are read: what is announced from now on may come after that
            begun, ended = {key for _, key in self._begun}, set(self._ended)
        missing = _missing("journal", begun, self._stored())
        if table:
            missing |= _missing("table", ended, self._rows())
        return missing - self._counted

    def doubled(self, *, table: bool = True) -> int:
        """How many events a journal or the tables have, or a listener announced, more than once; less those before."""
        return len(self._twice(table=table) - self._counted_twice)

    def misdated(self) -> int:
        """Events in the journal whose dates were not moved, or twice, when a clock was set."""
        rows = self._query(self.journal, "SELECT source, began - start FROM events ORDER BY id")
        newest = dict(rows)
        return sum(abs(offset - newest[source]) > MOST_MISDATED for source, offset in rows)

    def forget(self) -> None:
        """Begin a new round: what was counted is not counted again."""
        self._counted |= self.lost()
        self._counted_twice |= self._twice(table=True)

    def _twice(self, *, table: bool) -> set[Place]:
        with self.changed:
            announced = Counter(self._begun)
        twice = {("announced", *key) for (_, key), count in announced.items() if count > 1}
        for output, stored in (("journal", self._stored()), ("table", self._rows())):
            if table or output == "journal":
                twice |= {(output, *key) for key, count in stored.items() if count > 1}
        return twice

    def _key(self, event: dict[str, Any]) -> Beginning:
        at = datetime.fromisoformat(event["began"]).timestamp() if self._dated else float(event["start"])
        return event["source"], math.floor(1000 * at + 1e-3)

    def _stored(self) -> Counter[Beginning]:
        """Beginnings in all journals, and how often each is in one: a rotation leaves some in two."""
        # Not those after a date only: at SPEED dates run ahead of time, and go back when the listener starts again.
        stored = Counter[Beginning]()
        for path in self.journal.parent.glob("events.db*"):
            if not path.name.endswith(("-wal", "-shm")):
                column = "began" if self._dated else "start"
                rows = self._query(path, f"SELECT source, {column} FROM events")
                exact = Counter(rows)
                stored |= Counter({(source, math.floor(1000 * at)): n for (source, at), n in exact.items()})
        return stored

    @staticmethod
    def _query(path: Path, query: str) -> list[Any]:
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()
        return []

    def _rows(self) -> Counter[Beginning]:
        """Beginnings in all tables together."""
        rows = Counter[Beginning]()
        for path in self.table.parent.glob("events.csv*"):
            with suppress(OSError), path.open(encoding="utf-8", errors="replace", newline="") as file:
                for row in csv.DictReader(file):
                    with suppress(ValueError, TypeError, KeyError):  # a row that was cut
                        rows[self._key(row)] += 1
        return rows


def _missing(output: str, wanted: Iterable[Beginning], stored: Counter[Beginning]) -> set[Place]:
    """Those of `wanted` that are not stored; a millisecond is lost in rounding."""
    return {(output, source, at) for source, at in wanted if not any((source, at + by) in stored for by in (-1, 0, 1))}
