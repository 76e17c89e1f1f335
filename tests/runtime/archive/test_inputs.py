from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from edgecap.archive.inputs.find import InputRules, PlannedSource, find_sources
from edgecap.errors import AudioError, ConfigError, TableError
from support.ports import refusing_port

RULES = InputRules()


def addresses(*inputs: object, rules: InputRules = RULES, known: tuple[str, ...] = ()) -> list[str]:
    return [source.address for source in find_sources(map(str, inputs), rules, known)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sounds, and what is none, in a folder "rec"."""
    for name in ("b.wav", "a.FLAC", "deep/er/c.mp3", "set.tar", "notes.txt", ".hidden.wav", ".cache/x.wav", "t.csv"):
        path = tmp_path / "rec" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    os.mkfifo(tmp_path / "rec/pipe.wav")
    (tmp_path / "rec/lost.wav").symlink_to(tmp_path / "nowhere.wav")
    return tmp_path / "rec"


def test_a_folder_gives_its_sounds_and_tar_files_sorted(folder: Path) -> None:
    sources = list(find_sources([str(folder)], RULES))
    assert [source.address for source in sources] == [
        str(folder / name) for name in ("a.FLAC", "b.wav", "deep/er/c.mp3", "set.tar")
    ]
    assert {source.size for source in sources} == {5}
    modified = (folder / "a.FLAC").stat().st_mtime
    assert sources[0].modified == datetime.fromtimestamp(modified, UTC)


def test_patterns_files_and_each_source_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert addresses(folder / "*.wav") == [str(folder / "b.wav")]
    assert addresses(folder / "**/*.mp3") == addresses(folder / "de*") == [str(folder / "deep/er/c.mp3")]
    assert addresses(folder / "notes.txt", folder / "b.wav", f"file://{folder}/b.wav") == [
        str(folder / "notes.txt"),  # a file that is named counts, whatever its suffix
        str(folder / "b.wav"),
    ]
    monkeypatch.chdir(folder)
    assert addresses("b.wav", "./deep/../b.wav") == [str(folder / "b.wav")]
    (folder / "[1] *.wav").write_bytes(b"1")
    assert addresses("[1] *.wav") == [str(folder / "[1] *.wav")]  # a file of that name comes before a pattern


def test_known_sources_are_not_looked_at_again(folder: Path) -> None:
    (folder / "b.wav").unlink()
    assert addresses(folder / "b.wav", known=(str(folder / "b.wav"),)) == []


def test_a_name_that_is_not_utf8_becomes_an_address(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"1")
    assert addresses(tmp_path) == [f"file://{tmp_path}/caf%E9.wav"]


@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("tsv", "\t")])
def test_a_table_names_sources_and_times(tmp_path: Path, suffix: str, separator: str) -> None:
    lines = [("time", "path", "label"), ("2026-11-28T18:45:00Z", "sub/a.wav", "x"), ("", "/b.wav", "y")]
    lines.append(("2026-11-28 19:45", "s3://bucket/c.wav", "z"))
    table = tmp_path / f"clips.{suffix}"
    table.write_text("\n".join(separator.join(line) for line in lines), encoding="utf-16")
    evening = datetime(2026, 11, 28, 18, 45, tzinfo=UTC)
    assert list(find_sources([str(table)], InputRules(time_zone="Europe/Berlin"))) == [
        PlannedSource(str(tmp_path / "sub/a.wav"), time=evening),
        PlannedSource("/b.wav"),
        PlannedSource("s3://bucket/c.wav", time=evening),
    ]


def test_a_parquet_table_with_a_column_of_any_name(tmp_path: Path) -> None:
    path, evening = tmp_path / "clips.parquet", datetime(2026, 11, 28, 18, 45)
    parquet.write_table(pa.table({"clip": ["b.wav", "a.wav"], "time": [evening, None]}), path)
    assert list(find_sources([str(path)], InputRules("clip"))) == [
        PlannedSource(str(tmp_path / "b.wav"), time=evening.replace(tzinfo=UTC)),
        PlannedSource(str(tmp_path / "a.wav")),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"clip,label\na.wav,1\n", "has of the columns for sources none of source, path, file_name; name one of clip"),
        (b"path,time\na.wav,\n,\n", "row 2 has no text in the column 'path'"),
        (b"path,time\na.wav,soon\n", "row 1 has no usable 'time'"),
        (b"path,time\na.wav\n", "cannot be read as CSV"),
        (b"path,path\na.wav,b.wav\n", "has the column 'path' or 'time' twice"),
        (b"", "cannot be read as CSV"),
        (b"path\n\xff\xfe\xfd\n", "cannot be read as CSV"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "clips.csv").write_bytes(content)
    with pytest.raises(TableError, match=message):
        addresses(tmp_path / "clips.csv")


def test_other_tables_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "clips.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(TableError, match="cannot be read as Parquet"):
        addresses(tmp_path / "clips.parquet")
    with pytest.raises(TableError, match=r"none\.csv cannot be read \(No such file"):
        addresses(tmp_path / "none.csv")
    (tmp_path / "clips.csv").write_text("path\na.wav\n")
    with pytest.raises(TableError, match="has no column 'file'; name one of path with --column"):
        addresses(tmp_path / "clips.csv", rules=InputRules("file"))


def test_addresses_of_other_file_systems() -> None:
    system = fsspec.filesystem("memory")
    for name in ("b.wav", "deep/a.flac", "notes.txt"):
        system.pipe_file(f"/inputs-test/{name}", b"123")
    try:
        both = ["memory:///inputs-test/b.wav", "memory:///inputs-test/deep/a.flac"]
        assert addresses("memory://inputs-test") == both
        assert addresses("memory://inputs-test/*.wav") == both[:1]
        assert [source.size for source in find_sources(["memory://inputs-test"], RULES)] == [3, 3]
        with pytest.raises(AudioError, match=r"memory://nowhere cannot be reached .*nothing at this address"):
            addresses("memory://nowhere")
    finally:
        system.rm("/inputs-test", recursive=True)


def test_what_does_not_exist_or_cannot_be_reached(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"there is no .*none\.wav"):
        addresses(tmp_path / "none.wav")
    with pytest.raises(ConfigError, match="Protocol not known: gopher"):
        addresses("gopher://host/a.wav")
    with refusing_port() as port, pytest.raises(AudioError, match=r"cannot be reached \(.*onnect"):
        addresses(f"http://127.0.0.1:{port}/a.wav")
    assert addresses(tmp_path) == addresses(tmp_path / "*.wav") == []  # whoever wants sounds says so
