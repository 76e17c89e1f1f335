"""The plan of an archive: which sources belong to which shard. It is stored, and it only grows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgecap.archive.inputs.find import PlannedSource
from edgecap.archive.schema import CAPTIONS, PLAN, SUFFIX, plan_schema, shard_of
from edgecap.archive.store import ArchiveStore
from edgecap.archive.tables import read_table, table_bytes, with_texts
from edgecap.errors import OutputError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ShardSize:
    """Where a shard ends: before the source that would make it larger than either; one source is always taken."""

    files: int = 500
    bytes: int = 500_000_000


class ArchivePlan:
    """All planned sources, as a table in the order of their shards."""

    def __init__(self, tables: list[pa.Table], stored: int | None = None) -> None:
        """`tables` in order; so many files are `stored` that hold them, None for one each."""
        import pyarrow as pa

        self._files = len(tables) if stored is None else stored
        self._table = pa.concat_tables(tables).combine_chunks() if tables else plan_schema().empty_table()
        shards = self._table.column("shard").to_numpy()
        starts = [0, *(shards[1:] != shards[:-1]).nonzero()[0] + 1] if len(shards) else []
        ends = [*starts[1:], len(shards)]
        self._rows = {int(shards[start]): (int(start), int(end)) for start, end in zip(starts, ends, strict=False)}

    @classmethod
    def read(cls, store: ArchiveStore) -> ArchivePlan:
        """The plan of an archive; one without shards where there is none. Raises OutputError for a damaged one."""
        import pyarrow as pa

        tables = []
        done = [shard for name in store.sizes(CAPTIONS) if (shard := shard_of(name)) is not None]  # before their plan
        for number, name in enumerate(store.sizes(PLAN)):
            data = store.read(f"{PLAN}/{name}") or b""
            try:
                table = with_texts(read_table(data))
            except (pa.ArrowException, OSError) as error:
                raise _damaged(store, name) from error
            if name != _name(number) or table.schema != plan_schema():
                raise _damaged(store, name)
            tables.append(table)
        plan = cls(tables)
        if done and max(done) > max(plan.shards, default=-1):
            raise _damaged(store, _name(len(tables)))
        return plan

    @property
    def shards(self) -> list[int]:
        """Numbers of the shards, rising."""
        return list(self._rows)

    @property
    def files(self) -> int:
        """How many sources there are."""
        return int(self._table.num_rows)

    def addresses(self) -> set[str]:
        """Addresses of all sources."""
        return set(self._table.column("source").to_pylist())

    def count(self, shard: int) -> int:
        """How many sources a shard has."""
        start, end = self._rows[shard]
        return end - start

    def sources(self, shard: int) -> tuple[PlannedSource, ...]:
        """The sources of a shard, in order."""
        start, end = self._rows[shard]
        rows = self._table.slice(start, end - start).to_pylist()
        return tuple(PlannedSource(row["source"], row["size"], row["time"], row["modified"]) for row in rows)

    def add(self, store: ArchiveStore, sources: Iterable[PlannedSource], size: ShardSize) -> ArchivePlan | None:
        """Store new sources as further shards: the plan with them; None where another driver did so first.

        This plan itself stays as it is; after None the plan is to be read again.
        """
        import pyarrow as pa

        columns: dict[str, list[Any]] = {name: [] for name in plan_schema().names}
        for shard, source in _cut(sources, size, first=max(self._rows, default=-1) + 1):
            row = (shard, source.address, source.size, source.time, source.modified)
            for values, value in zip(columns.values(), row, strict=True):
                values.append(value)
        if not columns["shard"]:
            return self
        table = pa.table(columns, schema=plan_schema())
        if not store.create(f"{PLAN}/{_name(self._files)}", table_bytes(table)):
            return None
        return ArchivePlan([self._table, table], self._files + 1)


def _cut(sources: Iterable[PlannedSource], size: ShardSize, first: int) -> Iterator[tuple[int, PlannedSource]]:
    shard, files, filled = first, 0, 0
    for source in sources:
        more = source.size or 0
        if files and (files == size.files or filled + more > size.bytes):
            shard, files, filled = shard + 1, 0, 0
        files, filled = files + 1, filled + more
        yield shard, source


def _name(number: int) -> str:
    return f"plan-{number:06d}{SUFFIX}"


def _damaged(store: ArchiveStore, name: str) -> OutputError:
    return OutputError(
        f"{store.address}/{PLAN}/{name} is damaged, missing or of another version, and without it nothing can be "
        "added; restore it, or name another folder"
    )
