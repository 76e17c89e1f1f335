"""The journal of `edgecap listen` as a `Source`, also while the listener writes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edgecap.errors import DataError
from edgecap.live.events.event_rows import well_formed
from edgecap.live.sinks.journal import ADDED, APPLICATION, VERSION
from edgecap.util.sqlite import read_only

SECONDS = 60.0
"""Time that all questions to one journal may take together."""
MAGIC = b"SQLite format 3\0"
_VIEW = """
CREATE TEMP VIEW windows AS SELECT source, start, stop, began AS time, CAST(began / 900 AS INTEGER) AS slot,
    source AS place, text AS caption, {confidence} AS confidence, score, level_dbfs AS level, 0 AS silent,
    {sounds} AS tags FROM events WHERE {well_formed}
"""
_TAGS = """(SELECT json_group_array(json_extract(value, '$.name')) FROM json_each(
    CASE WHEN json_valid(sounds) THEN sounds ELSE '[]' END))"""


class JournalSource:
    """Events; `sounds` are the tags. Rows with values that no listener writes are left out."""

    unit = "event"
    tag_condition = "EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?)"
    tag_rows = "(SELECT windows.*, value AS tag FROM windows, json_each(tags) WHERE json_each.type = 'text')"

    def __init__(self, address: str, seconds: float = SECONDS) -> None:
        """Open it read-only. Raises DataError for a file that is damaged, or no journal of this version."""
        self.address = address
        with ExitStack() as stack:
            try:
                self._database = stack.enter_context(read_only(Path(address).expanduser(), seconds))
                application, version = (
                    self._database.execute(f"PRAGMA {name}").fetchone()[0]
                    for name in ("application_id", "user_version")
                )
                if (application, version) != (APPLICATION, VERSION):
                    raise DataError(
                        f"{address} is not a journal of this version of edgecap; name that of listen --journal"
                    )
                names = {row[1] for row in self._database.execute("PRAGMA table_info(events)")}
                older = ADDED.keys() - names
                self._database.execute(
                    _VIEW.format(
                        confidence="NULL" if "confidence" in older else "confidence",
                        sounds="'[]'" if "sounds" in older else _TAGS,
                        well_formed=well_formed(older),
                    )
                )
                self._database.execute("SELECT 1 FROM windows LIMIT 1").fetchall()
            except sqlite3.Error as error:
                raise self._unusable(error) from error
            self._resources = stack.pop_all()

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """As `Source.rows`."""
        try:
            return self._database.execute(statement, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._unusable(error) from error

    def put(self, table: str, columns: Mapping[str, Sequence[object]]) -> None:
        """As `Source.put`."""
        names = ", ".join(columns)
        self._database.execute(f"DROP TABLE IF EXISTS temp.{table}")
        self._database.execute(f"CREATE TEMP TABLE {table} ({names})")
        marks = ", ".join("?" * len(columns))
        self._database.executemany(f"INSERT INTO temp.{table} VALUES ({marks})", zip(*columns.values(), strict=True))

    def close(self) -> None:
        """As `Source.close`."""
        self._resources.close()

    def _unusable(self, error: Exception) -> DataError:
        return DataError(
            f"the journal {self.address} cannot be read ({error}); try again, and where that does not help restore it "
            "from a copy: edgecap listen puts a damaged one aside and begins another"
        )
