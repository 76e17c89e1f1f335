"""Parquet files of strangers: a few bytes that stand for much are refused before they take memory."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from edgecap.archive.inputs.manifest import ManifestRow, read_manifest
from edgecap.archive.store import LocalStore
from edgecap.archive.tables import open_table, read_table, table_bytes, with_texts
from edgecap.errors import OutputError, TableError
from edgecap.util import limits
from edgecap.util.files import read_at_most

TEXTS = pa.array(["a.wav", "b.wav", None, "a.wav"])


def rows(path: Path) -> list[ManifestRow]:
    return list(read_manifest(str(path), None, "UTC", lambda _: None))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_texts_come_back_as_they_were_written(kind: pa.DataType) -> None:
    table = pa.table({"source": TEXTS.cast(kind), "size": pa.array([1, 2, 3, 4])})
    again = with_texts(read_table(table_bytes(table)))
    assert again.schema.field("source").type in (kind, pa.string())
    assert again.to_pydict() == table.to_pydict()


def test_a_long_text_in_many_rows_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "sources.parquet"
    texts = pa.DictionaryArray.from_arrays(np.zeros(10_000, np.int32), pa.array(["x" * 100_000]))
    parquet.write_table(pa.table({"source": texts}), path, store_schema=False)  # as text, 1 GB of it
    assert path.stat().st_size < 1_000_000
    script = (
        "import sys; from edgecap.archive.inputs.manifest import read_manifest\n"
        "from edgecap.errors import TableError\n"
        "try: list(read_manifest(sys.argv[1], None, 'UTC', print))\n"
        "except TableError as error: print(error)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    # VmHWM and not ru_maxrss, which a program has from the process that started it
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    message, kilobytes = done.stdout.splitlines()
    assert "a text of 100000 characters in the column 'source', at most 4096 are read" in message
    assert int(kilobytes) < 300_000


def test_the_rows_of_a_table_with_one_text_too_much_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    data = table_bytes(pa.table({"source": ["x" * 1_000] * 100}))
    assert with_texts(read_table(data)).num_rows == 100
    monkeypatch.setattr("edgecap.archive.tables.MOST_UNPACKED", 99_999)
    with pytest.raises(pa.ArrowInvalid, match="column source has texts of 100000 bytes, at most 99999 are read"):
        with_texts(read_table(data))


@pytest.mark.parametrize(
    ("name", "most", "says"),
    [("MOST_ROWS", 3, "has 4 rows, at most 3 are read"), ("MOST_UNPACKED", 31, "column size has [0-9]+ bytes")],
)
def test_what_the_footer_claims_is_bounded(monkeypatch: pytest.MonkeyPatch, name: str, most: int, says: str) -> None:
    data = table_bytes(pa.table({"size": pa.array([1, 2, 3, 4])}))
    assert open_table(data).metadata.num_rows == 4
    monkeypatch.setattr(f"edgecap.archive.tables.{name}", most)
    monkeypatch.setattr("edgecap.archive.tables.MOST_PACKED", 0)
    with pytest.raises(pa.ArrowInvalid, match=says):
        open_table(data)


def test_a_shard_of_embeddings_is_read_however_large_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float16)
    table = pa.table({"embedding": pa.array(list(values), pa.list_(pa.float16(), 64))})
    monkeypatch.setattr("edgecap.archive.tables.MOST_UNPACKED", 100)
    assert read_table(table_bytes(table)).equals(table)


def test_a_manifest_that_is_too_large_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sources.csv"
    path.write_text("source\na.wav\n")
    assert [Path(row.address).name for row in rows(path)] == ["a.wav"]
    monkeypatch.setattr("edgecap.archive.inputs.manifest.MOST_TABLE", 5)
    with pytest.raises(TableError, match=r"cannot be read \(File too large"):
        rows(path)


def test_no_file_is_read_beyond_its_limit() -> None:
    assert read_at_most(Path("/dev/null"), 0) == b""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(OSError, match="File too large"):
        read_at_most(Path("/dev/zero"), 1_000)  # which never ends
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000


def test_a_high_limit_asks_for_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert read_at_most(path, 1 << 60) == b"abc"
    with pytest.raises(OSError, match="File too large"):
        read_at_most(path, 2)


def test_settings_that_are_too_large_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "archive.json").open("wb") as file:
        file.truncate(limits.MOST_SETTINGS + 1)
    with pytest.raises(OutputError, match="File too large"):
        LocalStore(str(tmp_path)).read("archive.json", limits.MOST_SETTINGS)


def test_a_table_without_text_is_read_as_it_is() -> None:
    table = pa.table({"size": pa.array([1, None])})
    file = io.BytesIO()
    parquet.write_table(table, file)
    assert with_texts(read_table(file.getvalue())).equals(table)
