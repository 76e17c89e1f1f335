"""Which shards of an archive are done: their files are there, and are what this archive would write."""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgecap.archive.schema import (
    CAPTIONS,
    FAILURES,
    FORMAT_KEY,
    MODEL_KEY,
    OPTIONS_KEY,
    VERSION,
    ArchiveSettings,
    captions_schema,
    failures_schema,
    shard_of,
)
from edgecap.archive.store import ArchiveStore
from edgecap.archive.tables import read_table

if TYPE_CHECKING:
    import pyarrow as pa

FOOTER_BYTES = 32 << 10
"""Read of the end of each file; footers have some 5 kB."""


@dataclass(frozen=True)
class Finished:
    """The shards that are done, and what is in them."""

    captions: dict[int, int]
    """Shard → rows."""
    failures: dict[int, int]
    """Shard → rows, of those shards with failures."""
    damaged: list[int]
    """Shards whose files are cut, corrupt or of another archive; they are made again."""


def finished_shards(
    store: ArchiveStore, settings: ArchiveSettings, planned: Collection[int], *, verify: bool = False
) -> Finished:
    """The shards that are done: each file's footer is checked; with `verify` every value is read, by its checksum.

    Raises OutputError where the archive cannot be listed.
    """
    captions = _rows(store, CAPTIONS, settings, planned, verify)
    failures = _rows(store, FAILURES, settings, captions, verify)
    good = {shard: rows for shard, rows in captions.items() if rows is not None and failures.get(shard, 0) is not None}
    return Finished(
        captions=good,
        failures={shard: rows for shard, rows in failures.items() if rows is not None and shard in good},
        damaged=sorted(captions.keys() - good.keys()),
    )


def _rows(
    store: ArchiveStore, folder: str, settings: ArchiveSettings, shards: Collection[int], verify: bool
) -> dict[int, int | None]:
    """Rows of the table of each shard that has one; None for one that is not in order."""
    schema = captions_schema(settings.embedding_dim) if folder == CAPTIONS else failures_schema()
    files = [(shard, name, size) for name, size in store.sizes(folder).items() if (shard := shard_of(name)) in shards]
    paths = [f"{folder}/{name}" for _, name, _ in files]
    ends = store.ends(paths, FOOTER_BYTES)
    rows: dict[int, int | None] = {}
    for (shard, _, size), path, end in zip(files, paths, ends, strict=True):
        assert shard is not None  # it is one of the shards
        rows[shard] = _footer_rows(end, size, settings, schema)
        if verify and rows[shard] is not None and not _reads(store.read(path) or b""):
            rows[shard] = None
    return rows


def _footer_rows(end: bytes, size: int, settings: ArchiveSettings, schema: pa.Schema) -> int | None:
    """Rows of the table with this end; None where it is not a whole Parquet file of this archive with these columns."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        footer = parquet.read_metadata(io.BytesIO(end))
        columns = footer.schema.to_arrow_schema()
    except (pa.ArrowException, OSError):
        return None
    texts: dict[bytes, bytes] = footer.metadata or {}
    wanted = {FORMAT_KEY: str(VERSION), MODEL_KEY: settings.model.sha256}
    if not columns.equals(schema) or any(texts.get(key.encode()) != value.encode() for key, value in wanted.items()):
        return None
    try:
        options = json.loads(texts.get(OPTIONS_KEY.encode(), b""))
    except ValueError:
        return None
    if options != asdict(settings.options) or _data_end(footer) + footer.serialized_size + 8 > size:
        return None
    return int(footer.num_rows)


def _data_end(footer: Any) -> int:  # noqa: ANN401 - pyarrow has no types
    """Bytes up to the end of the last column."""
    ends = [4]
    for group in range(footer.num_row_groups):
        for number in range(footer.num_columns):
            column = footer.row_group(group).column(number)
            first = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
            ends.append(first + column.total_compressed_size)
    return max(ends)


def _reads(data: bytes) -> bool:
    """Whether all values of a table can be read."""
    import pyarrow as pa

    try:
        read_table(data, verify=True)
    except (pa.ArrowException, OSError):
        return False
    return True
