"""Parquet files in memory.

Nothing here starts pyarrow's threads: a process that ends right behind a read by them may be aborted
(findings/pyarrow_threads_at_exit.sh), and a table of one row group gains nothing from them.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet


def open_table(data: bytes, *, verify: bool = False) -> parquet.ParquetFile:
    """A Parquet file for reading, with `use_threads=False`; with `verify` each page's checksum is compared.

    Raises pyarrow.ArrowException and OSError.
    """
    from pyarrow import parquet

    return parquet.ParquetFile(io.BytesIO(data), pre_buffer=False, page_checksum_verification=verify)


def read_table(data: bytes, columns: list[str] | None = None, *, verify: bool = False) -> pa.Table:
    """A Parquet file as a table, or those columns of it. Raises as `open_table`."""
    return open_table(data, verify=verify).read(columns, use_threads=False)


def table_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file with checksums."""
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(table, file, compression="zstd", write_page_checksum=True)
    return file.getvalue()
