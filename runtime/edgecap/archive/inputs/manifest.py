"""Tables of sources, as CSV or Parquet: a column of paths or addresses, and one of times if there is one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from edgecap.archive.addresses import beside, filesystem, local_path, scheme_of, suffix_of, why
from edgecap.archive.inputs.times import time_in_cell, zone
from edgecap.archive.tables import open_table
from edgecap.errors import EdgecapError, TableError
from edgecap.util.text import decoded

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
COLUMNS = ("source", "path", "file_name")
"""The column with the sources is the first of these."""
TIME = "time"


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One source of a manifest."""

    address: str
    """A relative path in a manifest is one from the manifest's folder."""
    time: datetime | None


def read_manifest(address: str, column: str | None, time_zone: str) -> Iterator[ManifestRow]:
    """The rows of a manifest, in order; `time_zone` is that of times without one.

    Raises TableError for one that cannot be read, has no such column, or has a row without a source or with a time that
    is none; the message names the row.
    """
    table = _table(address, column)
    name = _column(address, table.column_names, column)
    times = table.column(TIME) if TIME in table.column_names else None
    default, row = zone(time_zone), 0
    for batch in table.select([name, *([TIME] if times is not None else [])]).to_batches(max_chunksize=10_000):
        cells = batch.column(name).to_pylist()
        moments = batch.column(TIME).to_pylist() if times is not None else [None] * len(cells)
        for cell, moment in zip(cells, moments, strict=True):
            row += 1
            if not isinstance(cell, str) or not cell.strip():
                raise TableError(f"{address}: row {row} has no text in the column {name!r}; fill it, or remove the row")
            try:
                yield ManifestRow(beside(address, cell.strip()), time_in_cell(moment, default))
            except (ValueError, OverflowError) as error:
                raise TableError(
                    f"{address}: row {row} has no usable {TIME!r} ({error}); write it as 2026-11-28T18:45:00Z"
                ) from error


def _column(address: str, names: list[str], wanted: str | None) -> str:
    name = next((name for name in ([wanted] if wanted else COLUMNS) if name in names), None)
    if name is None:
        lacking = repr(wanted) if wanted else f"none of {', '.join(COLUMNS)}"
        verb = "has no column" if wanted else "has of the columns for sources"
        raise TableError(f"{address} {verb} {lacking}; name one of {', '.join(names) or '(none)'} with --column")
    if names.count(name) > 1 or names.count(TIME) > 1:
        raise TableError(f"{address} has the column {name!r} or {TIME!r} twice; rename one")
    return name


def _table(address: str, column: str | None) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    data = _content(address)
    try:
        if suffix_of(address) == ".parquet":
            file = open_table(data)
            names: list[str] = file.schema_arrow.names
            return file.read(
                [_column(address, names, column), *(name for name in names if name == TIME)], use_threads=False
            )
        text = io.BytesIO(decoded(data).encode())
        comma = "\t" if suffix_of(address) == ".tsv" else ","
        strings = {name: pa.string() for name in (*COLUMNS, TIME, column or TIME)}  # a path may look like a number
        return csv.read_csv(
            text,
            read_options=csv.ReadOptions(use_threads=False),
            parse_options=csv.ParseOptions(delimiter=comma, newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types=strings, strings_can_be_null=True, null_values=[""]),
        )
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        kind = "Parquet" if suffix_of(address) == ".parquet" else "CSV"
        raise TableError(f"{address} cannot be read as {kind} ({why(error)}); write it again") from error


def _content(address: str) -> bytes:
    try:
        if not scheme_of(address):
            return local_path(address).read_bytes()
        system, path = filesystem(address)
        return bytes(system.cat_file(path))
    except EdgecapError:
        raise
    except Exception as error:  # each library has its own kinds of errors
        raise TableError(f"{address} cannot be read ({why(error, address)}); check the name or the address") from error
