"""Tables of sources, as CSV or Parquet: a column of paths or addresses, and one of times if there is one."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from edgecap.archive.addresses import beside, filesystem, local_path, scheme_of, suffix_of, why
from edgecap.archive.inputs.times import time_in_cell, zone
from edgecap.archive.schema import FailedSource
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


def read_manifest(
    address: str, column: str | None, time_zone: str, fail: Callable[[FailedSource], None]
) -> Iterator[ManifestRow]:
    """The rows of a manifest, in order; `time_zone` is that of times without one.

    A row without a source, with a time that is none or with more or fewer cells than others goes to `fail`, with its
    number. Raises TableError for a manifest that cannot be read, or has no such column.
    """
    table, wrong = _table(address, column)
    for text in wrong:
        fail(FailedSource.of(address, TableError(f"{address}: {text}")))
    name, *dated = table.column_names
    default, row = zone(time_zone), 0
    for batch in table.to_batches(max_chunksize=10_000):
        cells = batch.column(name).to_pylist()
        times = _times(batch.column(TIME)) if dated else [None] * len(cells)
        for cell, time in zip(cells, times, strict=True):
            row += 1
            if not isinstance(cell, str) or not cell.strip():
                text = f"{address}: row {row} has no text in the column {name!r}; fill it, or remove the row"
                fail(FailedSource.of(address, TableError(text)))
                continue
            source = beside(address, cell.strip())
            try:
                yield ManifestRow(source, time_in_cell(time, default))
            except (ValueError, OverflowError) as error:
                text = f"{address}: row {row} has no usable {TIME!r} ({error}); write it as 2026-11-28T18:45:00Z"
                fail(FailedSource.of(source, TableError(text)))


def _column(address: str, names: list[str], wanted: str | None) -> str:
    name = next((name for name in ([wanted] if wanted else COLUMNS) if name in names), None)
    if name is None:
        lacking = repr(wanted) if wanted else f"none of {', '.join(COLUMNS)}"
        verb = "has no column" if wanted else "has of the columns for sources"
        raise TableError(f"{address} {verb} {lacking}; name one of {', '.join(names) or '(none)'} with --column")
    if names.count(name) > 1 or names.count(TIME) > 1:
        raise TableError(f"{address} has the column {name!r} or {TIME!r} twice; rename one")
    return name


def _times(column: pa.Array) -> list[Any]:
    """The cells of a column of times; nanoseconds, which Python's times have not, are cut off."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return list(column.to_pylist())


def _table(address: str, column: str | None) -> tuple[pa.Table, list[str]]:
    """The columns of sources and times, and which rows of a CSV are left out since they have other numbers of cells."""
    import pyarrow as pa

    data = _content(address)
    kind = "Parquet" if suffix_of(address) == ".parquet" else "CSV"
    try:
        if kind == "CSV":
            return _csv(address, decoded(data), column)
        file = open_table(data)
        wanted = _wanted(address, file.schema_arrow.names, column)
        return file.read(wanted, use_threads=False).select(wanted), []
    except (pa.ArrowException, UnicodeDecodeError, OSError, csv.Error) as error:
        raise TableError(f"{address} cannot be read as {kind} ({why(error)}); write it again") from error


def _csv(address: str, text: str, column: str | None) -> tuple[pa.Table, list[str]]:
    import pyarrow as pa
    from pyarrow.csv import ConvertOptions, InvalidRow, ParseOptions, ReadOptions, read_csv

    comma, wrong = "\t" if suffix_of(address) == ".tsv" else ",", list[str]()
    header = next(filter(None, csv.reader(io.StringIO(text), delimiter=comma)), None)
    if header is None:
        raise csv.Error("it is empty")
    wanted = _wanted(address, header, column)

    def leave_out(row: InvalidRow) -> str:
        cells = f"{row.actual_columns} cells in place of {row.expected_columns}"
        wrong.append(f"row {row.number - 1} has {cells} ({row.text[:80]}); put quotes around what holds a comma")
        return "skip"

    table = read_csv(
        io.BytesIO(text.encode()),
        read_options=ReadOptions(use_threads=False),
        parse_options=ParseOptions(delimiter=comma, newlines_in_values=True, invalid_row_handler=leave_out),
        convert_options=ConvertOptions(
            include_columns=wanted,
            column_types={name: pa.string() for name in wanted},  # a path may look like a number
            strings_can_be_null=True,
            null_values=[""],
        ),
    )
    return table, wrong


def _wanted(address: str, names: list[str], column: str | None) -> list[str]:
    """The columns that are read, that of the sources first."""
    name = _column(address, names, column)
    return [name, *({TIME} & set(names) - {name})]


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
