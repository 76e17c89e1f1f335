"""An archive's Parquet files as a `Source`, by DuckDB, which reads only the columns that a question needs."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edgecap.archive.addresses import filesystem, local_path, scheme_of
from edgecap.archive.schema import CAPTIONS, SETTINGS, ArchiveSettings, shard_of
from edgecap.archive.store import open_store
from edgecap.errors import DataError, MissingDependencyError, reason_of
from edgecap.live.events.event_rows import EARLIEST, LATEST
from edgecap.util.limits import MOST_SETTINGS, search_memory

_VIEW = """
CREATE TEMP MACRO known(us) AS CASE WHEN us BETWEEN {earliest} AND {latest} THEN us END;
CREATE TEMP VIEW windows AS SELECT source, start, "end" AS stop, known(epoch_us(time)) / 1e6 AS time,
    floor(known(epoch_us(time)) / 900000000)::BIGINT AS slot,
    CASE WHEN starts_with(source, 'tar://') THEN regexp_replace(source, '.*::', '', 's')
        ELSE regexp_replace(source, '[^/]+$', '') END AS place,
    caption, confidence, score, level, silent,
    to_json(tags)::VARCHAR AS tags,
    tags AS tag_list, shard, file_row_number AS number FROM read_parquet([{files}], file_row_number = true)
"""
_OFFLINE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "temp_directory": "",
}
"""Nothing is downloaded, and nothing is written beside the archive or into the current folder."""
_PATTERN = re.compile(r"[*?\[\]{}]")


class ArchiveSource:
    """Windows of the shards that are done when it is opened."""

    unit = "window"
    tag_condition = "list_contains(tag_list, ?)"
    tag_rows = "(SELECT *, unnest(tag_list) AS tag FROM windows)"

    def __init__(self, address: str) -> None:
        """Open it. Raises DataError for what is no archive, MissingDependencyError without the extra `archive`."""
        try:
            import duckdb
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError.for_extra("searching an archive", "archive") from error
        self.address, self._broken = address, duckdb.Error
        store = open_store(address)
        self.settings = _settings(address, store.read(SETTINGS, MOST_SETTINGS))
        """Model and options of the archive."""
        sizes = store.sizes(CAPTIONS)
        self.shards = {name: sizes[name] for name in sizes if shard_of(name) is not None}
        """Names of the files in `captions` and their sizes, bytes, in order."""
        if not self.shards:
            raise DataError(f"{address} has no captions yet; wait for edgecap archive to finish its first shard")
        with ExitStack() as stack:
            self._database = stack.enter_context(
                duckdb.connect(config=_OFFLINE | {"memory_limit": f"{search_memory() >> 20}MiB"})
            )
            folder = self._folder(stack)
            files = ", ".join(f"'{folder}/{name}'" for name in self.shards)
            try:
                self._database.execute(_VIEW.format(files=files, earliest=EARLIEST * 10**6, latest=LATEST * 10**6))
            except duckdb.Error as error:
                raise self._unreadable(error) from error
            self._resources = stack.pop_all()

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """As `Source.rows`."""
        try:
            return self._database.execute(statement, list(values)).fetchall()
        except self._broken as error:
            raise self._unreadable(error) from error

    def columns(self, statement: str, values: Sequence[object] = ()) -> dict[str, Any]:
        """The same as NumPy arrays by the names of the columns."""
        try:
            return dict(self._database.execute(statement, list(values)).fetchnumpy())
        except self._broken as error:
            raise self._unreadable(error) from error

    def put(self, table: str, columns: Mapping[str, Sequence[object]]) -> None:
        """As `Source.put`."""
        import pyarrow as pa

        self._database.unregister(table)
        self._database.register(table, pa.table({name: list(values) for name, values in columns.items()}))

    def close(self) -> None:
        """As `Source.close`."""
        self._resources.close()

    def _folder(self, stack: ExitStack) -> str:
        """Where DuckDB finds the files, for a text in SQL."""
        if scheme_of(self.address):
            system, path = filesystem(self.address)
            self._database.register_filesystem(system)
            return f"{scheme_of(self.address)}://{path.strip('/')}/{CAPTIONS}".replace("'", "''")
        folder = local_path(self.address).expanduser().absolute() / CAPTIONS
        if _PATTERN.search(str(folder)):  # it would be taken for a pattern, and there is no way to escape one
            link = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgecap-"))) / CAPTIONS
            link.symlink_to(folder)
            folder = link
        return str(folder).replace("'", "''")

    def _unreadable(self, error: Exception) -> DataError:
        name = next((name for name in self.shards if name in str(error)), None)
        place = f"{self.address}/{CAPTIONS}/{name}" if name else f"a file in {self.address}/{CAPTIONS}"
        reason, advice = reason_of(error), f"where it is damaged type: edgecap archive -o {self.address} --verify"
        if name:
            advice = "where it is damaged remove it: edgecap archive makes it anew"
        if reason.startswith("Traceback"):  # what fsspec raised, as text: findings/duckdb_fsspec_error.sh
            reason = str(error).partition("\nLINE ")[0].strip().splitlines()[-1]
            advice = "check the address, the network and your rights, and search again"
        elif reason.startswith("Out of Memory"):
            reason = f"it takes more than {search_memory() >> 20} MiB, half of this machine's memory"
            advice = "search a part of it, as with --since or --source, or on a machine with more memory"
        elif "No files found" in reason:
            reason, advice = "it was removed meanwhile", "search again"
        return DataError(f"{place} cannot be read ({reason}); {advice}")


def _settings(address: str, data: bytes | None) -> ArchiveSettings:
    """Raises DataError."""
    if data is None:
        raise DataError(
            f"{address} is not an archive (it has no {SETTINGS}); name the folder that edgecap archive wrote, or a "
            "journal of edgecap listen"
        )
    try:
        return ArchiveSettings.from_json(data)
    except ValueError as error:
        raise DataError(
            f"{address}/{SETTINGS} cannot be used ({reason_of(error)}); it is of another version of edgecap, or damaged"
        ) from error
