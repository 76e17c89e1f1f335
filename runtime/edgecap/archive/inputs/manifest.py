"""Tables of sources, as CSV or Parquet: a column of paths or addresses, and one of times if there is one."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from edgecap.archive.addresses import beside, filesystem, local_path, remote_content, scheme_of, suffix_of, why
from edgecap.archive.inputs.times import time_in_cell, zone
from edgecap.archive.schema import FailedSource
from edgecap.archive.tables import open_table
from edgecap.errors import EdgecapError, TableError
from edgecap.util.files import read_at_most
from edgecap.util.limits import MOST_ADDRESS, MOST_TABLE
from edgecap.util.text import decoded

PARQUET = ".parquet"
MANIFEST_SUFFIXES = frozenset({".csv", ".tsv", PARQUET})
COLUMNS = ("source", "path", "file_name")
"""The column with the sources is the first of these."""
TIME = "time"


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One source of a manifest."""

    address: str
    """A relative path in a manifest is one from the manifest's folder."""
    time: datetime | None


@dataclass(frozen=True, slots=True)
class _Cells:
    """A row as it is written."""

    source: object = None
    time: object = None
    fault: str = ""
    """Why it is no row."""


def read_manifest(
    address: str, column: str | None, time_zone: str, fail: Callable[[FailedSource], None]
) -> Iterator[ManifestRow]:
    """The rows of a manifest, in order; `time_zone` is that of times without one.

    A row without a source, with a time that is none or with more or fewer cells than others goes to `fail`, with its
    number. Raises TableError for a manifest that cannot be read, or has no such column.
    """
    import pyarrow as pa

    is_parquet, data, default = suffix_of(address) == PARQUET, _content(address), zone(time_zone)
    try:
        rows = (_parquet_rows if is_parquet else _csv_rows)(address, data, column)
        for number, cells in enumerate(rows, start=1):
            source, fault = address, cells.fault
            if not fault and not (isinstance(cells.source, str) and cells.source.strip()):
                fault = "has no text in the column of sources; fill it, or remove the row"
            if not fault:
                source = beside(address, str(cells.source).strip())
                try:
                    time = time_in_cell(cells.time, default)
                except (ValueError, OverflowError) as error:
                    fault = f"has no usable {TIME!r} ({error}); write it as 2026-11-28T18:45:00Z"
            if fault:
                fail(FailedSource.of(source, TableError(f"{address}: row {number} {fault}")))
            else:
                yield ManifestRow(source, time)
    except (pa.ArrowException, UnicodeDecodeError, OSError, csv.Error) as error:
        kind = "Parquet" if is_parquet else "CSV"
        raise TableError(f"{address} cannot be read as {kind} ({why(error)}); write it again") from error


def _csv_rows(address: str, data: bytes, column: str | None) -> Iterator[_Cells]:
    """Raises TableError, UnicodeDecodeError, csv.Error."""
    text = decoded(data)
    first = text.lstrip().partition("\n")[0]
    comma = "\t" if suffix_of(address) == ".tsv" else max(",;\t", key=first.count)  # as spreadsheets of some countries
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=comma, strict=True)
    rows = filter(None, lines)  # an empty line is no row
    names = next(rows, None)
    if names is None:
        raise csv.Error("it is empty")
    places = [names.index(name) for name in _columns(address, names, column)]
    for cells in rows:
        if len(cells) == len(names):
            yield _Cells(*(cells[place] for place in places))
        else:
            much = f"{len(cells)} cells in place of {len(names)}"
            yield _Cells(fault=f"has {much} ({', '.join(cells)[:80]}); put quotes around what holds a comma")


def _parquet_rows(address: str, data: bytes, column: str | None) -> Iterator[_Cells]:
    """Raises TableError, pyarrow.ArrowException, OSError."""
    import pyarrow as pa
    from pyarrow import compute

    file = open_table(data)
    names = _columns(address, file.schema_arrow.names, column)
    table = file.read(names, use_threads=False)
    for name in names:
        for part in table.column(name).chunks if pa.types.is_dictionary(table.schema.field(name).type) else ():
            longest = compute.max(compute.utf8_length(part.dictionary)).as_py() or 0
            if longest > MOST_ADDRESS:  # it may stand in each of millions of rows
                raise TableError(
                    f"{address} has a text of {longest} characters in the column {name!r}, at most {MOST_ADDRESS} are "
                    "read; name another column with --column"
                )
    for batch in table.to_batches(max_chunksize=10_000):
        cells = []
        for name in names:
            values = batch.column(name)
            if pa.types.is_timestamp(values.type):  # Python's times have no nanoseconds
                values = values.cast(pa.timestamp("us", values.type.tz), safe=False)
            cells.append(values.to_pylist())
        yield from map(_Cells, *cells)


def _columns(address: str, names: list[str], wanted: str | None) -> list[str]:
    """The column of the sources, and that of their times if there is one. Raises TableError."""
    name = next((name for name in ([wanted] if wanted else COLUMNS) if name in names), None)
    if name is None:
        lacking = f"no column {wanted!r}" if wanted else f"none of the columns {', '.join(COLUMNS)}"
        raise TableError(f"{address} has {lacking}; name one of its own with --column: {', '.join(names) or '(none)'}")
    if names.count(name) > 1 or names.count(TIME) > 1:
        raise TableError(f"{address} has the column {name!r} or {TIME!r} twice; rename one")
    return [name, *({TIME} & set(names) - {name})]


def _content(address: str) -> bytes:
    try:
        if not scheme_of(address):
            return read_at_most(local_path(address), MOST_TABLE)
        return remote_content(*filesystem(address), MOST_TABLE)
    except EdgecapError:
        raise
    except Exception as error:  # each library has its own kinds of errors
        raise TableError(f"{address} cannot be read ({why(error, address)}); check the name or the address") from error
