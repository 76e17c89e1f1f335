"""Parquet files in memory.

Nothing here starts pyarrow's threads: a process that ends right behind a read by them may be aborted
(findings/pyarrow_threads_at_exit.sh), and a table of one row group gains nothing from them.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from edgecap.util.limits import MOST_ROWS, MOST_UNPACKED

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 4}
"""Physical type → bytes of a value in memory; of texts, which are read as dictionaries, those of its number there."""
MOST_PACKED = 16
"""How many times larger than the whole file a column may be beyond `MOST_UNPACKED`; embeddings hardly shrink."""


def open_table(data: bytes, *, verify: bool = False) -> parquet.ParquetFile:
    """A Parquet file for reading, with `use_threads=False`; with `verify` each page's checksum is compared.

    Texts are read as dictionaries: a few bytes may stand for the same long text in millions of rows.
    Raises pyarrow.ArrowException and OSError, also for a file that says of itself that it holds too much.
    """
    import pyarrow as pa
    from pyarrow import parquet

    footer = parquet.read_metadata(io.BytesIO(data))
    texts = {field.name for field in footer.schema.to_arrow_schema() if _is_text(field.type)}
    if footer.num_rows > MOST_ROWS:
        raise pa.ArrowInvalid(f"it has {footer.num_rows} rows, at most {MOST_ROWS} are read")
    most = max(MOST_UNPACKED, MOST_PACKED * len(data))
    for number in range(footer.num_columns):
        column = footer.schema.column(number)
        chunks = [footer.row_group(group).column(number) for group in range(footer.num_row_groups)]
        values = sum(chunk.num_values for chunk in chunks) * _WIDTHS.get(column.physical_type, column.length)
        size = max(values, sum(chunk.total_uncompressed_size for chunk in chunks))
        if size > most:
            raise _too_large(column.path, f"{size} bytes", most)
    return parquet.ParquetFile(
        io.BytesIO(data), pre_buffer=False, page_checksum_verification=verify, read_dictionary=sorted(texts)
    )


def read_table(data: bytes, columns: list[str] | None = None, *, verify: bool = False) -> pa.Table:
    """A Parquet file as a table, or those columns of it, its texts as dictionaries. Raises as `open_table`."""
    return open_table(data, verify=verify).read(columns, use_threads=False)


def with_texts(table: pa.Table) -> pa.Table:
    """The same with each row's text. Raises pyarrow.ArrowInvalid where that would be too large."""
    import pyarrow as pa
    from pyarrow import compute

    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            column = table.column(place)
            lengths = (compute.take(compute.binary_length(part.dictionary), part.indices) for part in column.chunks)
            size = sum(compute.sum(each).as_py() or 0 for each in lengths)
            if size > MOST_UNPACKED:
                raise _too_large(field.name, f"texts of {size} bytes", MOST_UNPACKED)
            plain = pa.field(field.name, field.type.value_type, field.nullable, field.metadata)
            table = table.set_column(place, plain, column.cast(plain.type))
    return table


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _too_large(column: str, size: str, most: int) -> Exception:
    import pyarrow as pa

    error: Exception = pa.ArrowInvalid(f"its column {column} has {size}, at most {most} are read")
    return error


def table_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file with checksums."""
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(table, file, compression="zstd", write_page_checksum=True)
    return file.getvalue()
