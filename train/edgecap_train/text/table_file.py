"""Tables as files: CSV as spreadsheets and data sets write it, read into rows that know their line.

Read are UTF-8 and UTF-16, with a byte-order mark or without; commas, semicolons, tabs and bars between cells; blanks
around cells, and column names in any case. What would be read wrongly is refused with its line: a row with more cells
than the header, a quotation mark that is not closed, and text that is not UTF-8.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from edgecap.errors import TableError, reason_of
from edgecap.util.text import decoded

DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class CsvRow:
    """One row."""

    line: int
    """Where it begins in the file; the first line is 1."""
    cells: tuple[str, ...]
    """One for each column, "" for those that the row leaves out."""


@dataclass(frozen=True)
class CsvTable:
    """A table's columns and rows."""

    header: tuple[str, ...]
    """Names of the columns as they are in the file."""
    rows: tuple[CsvRow, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names in lower case, with underscores for blanks, dots and dashes."""
        return tuple(column_name(name) for name in self.header)


def column_name(name: str) -> str:
    """A column's name in the form in which it is looked for: "File Name" → "file_name"."""
    return re.sub(r"[\s.\-]+", "_", name.strip().lower())


def read_table(path: Path, columns: Collection[str]) -> list[dict[str, str]]:
    """Rows of a CSV file with a header, by `column_name`. Raises TableError, also where it lacks a column."""
    table = read_csv(path)
    for column in columns:
        if column not in table.columns:
            raise TableError(
                f"{path.name} has no column {column!r}; it has {', '.join(table.header)} and needs {', '.join(columns)}"
            )
    return [dict(zip(table.columns, row.cells, strict=True)) for row in table.rows]


def read_csv(path: Path) -> CsvTable:
    """The table in a CSV file with a header. Raises TableError naming the line that is wrong."""
    text = read_text(path)
    lines = text.splitlines()
    delimiter, first = DELIMITERS, 0
    if declared := re.fullmatch(r"sep=(.)", lines[0].strip()):  # how Excel names its delimiter
        delimiter, first = declared[1], 1
    header = next((line for line in lines[first:] if line.strip()), "")
    reader = csv.reader(
        io.StringIO("".join(text.splitlines(keepends=True)[first:]), newline=""),
        delimiter=max(delimiter, key=lambda sign: len(next(csv.reader([header], delimiter=sign), []))),
        skipinitialspace=True,
        strict=True,
    )
    rows: list[CsvRow] = []
    while True:
        line = first + reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            break
        except csv.Error as error:
            raise TableError(
                f"line {line} of {path.name}: the quotation marks of this row do not match ({error}); close each cell "
                'that opens with ", and write "" for a quotation mark inside it'
            ) from error
        if any(reader.dialect.delimiter in later for cell in cells for later in cell.splitlines()[1:]):
            raise TableError(
                f"line {line} of {path.name}: a quotation mark that opens here is closed on line "
                f"{first + reader.line_num}, with other rows between; close it on its own line"
            )
        if any(cells):
            rows.append(CsvRow(line, tuple(" ".join(cell.split()) for cell in cells)))
    if not rows:
        raise TableError(f"{path.name} is empty; name a table with a header and rows")
    names = _trimmed(rows[0].cells)
    return CsvTable(names, tuple(_fitted(row, names, path) for row in rows[1:]))


def read_text(path: Path) -> str:
    """The text of a file in UTF-8 or UTF-16. Raises TableError for one that cannot be read or has no text."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TableError(f"the table {path} cannot be read ({reason_of(error)}); check its name") from error
    if data.startswith(b"PK\x03\x04"):
        raise TableError(f"{path.name} is a spreadsheet or an archive; save it as CSV in UTF-8")
    try:
        text = decoded(data)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TableError(
            f"line {line} of {path.name} is not text in UTF-8; save the table as UTF-8 (in a spreadsheet: CSV UTF-8)"
        ) from error
    if "\0" in text:
        raise TableError(f"{path.name} is not a text file; name a table saved as CSV in UTF-8")
    if not text.strip():  # that a byte order mark is all there is shows only now
        raise TableError(f"{path.name} is empty; name a table with a header and rows")
    return text


def _trimmed(cells: tuple[str, ...]) -> tuple[str, ...]:
    """Without the empty cells that spreadsheets put at the end of a row."""
    count = len(cells)
    while count and not cells[count - 1]:
        count -= 1
    return cells[:count]


def _fitted(row: CsvRow, names: tuple[str, ...], path: Path) -> CsvRow:
    """The row with a cell for each column. Raises TableError where it has more."""
    cells = _trimmed(row.cells)
    if len(cells) > len(names):
        raise TableError(
            f"line {row.line} of {path.name} has {len(cells)} cells and the header {len(names)}; put text that holds "
            f'a comma into double quotes: "{", ".join(cells[len(names) - 1 :])}"'
        )
    return CsvRow(row.line, (*cells, *[""] * (len(names) - len(cells))))
