from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from edgecap.archive.inputs.find import Fail, InputRules, PlannedSource, find_sources
from edgecap.archive.schema import FailedSource
from edgecap.errors import AudioError, ConfigError, TableError
from support.ports import refusing_port

RULES = InputRules()


def refuse_nothing(failed: FailedSource) -> None:
    pytest.fail(failed.reason)


def addresses(
    *inputs: object, rules: InputRules = RULES, known: tuple[str, ...] = (), fail: Fail = refuse_nothing
) -> list[str]:
    return [source.address for source in find_sources(map(str, inputs), rules, fail, known)]


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
    sources = list(find_sources([str(folder)], RULES, refuse_nothing))
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


@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
def test_a_table_names_sources_and_times(tmp_path: Path, suffix: str, separator: str) -> None:
    lines = [("time", "path", "label"), ("2026-11-28T18:45:00Z", "sub/a.wav", "x"), ("", "/b.wav", "y")]
    lines.append(("2026-11-28 19:45", "s3://bucket/c.wav", "z"))
    table = tmp_path / f"clips.{suffix}"
    table.write_text("\n".join(separator.join(line) for line in lines), encoding="utf-16")
    evening = datetime(2026, 11, 28, 18, 45, tzinfo=UTC)
    assert list(find_sources([str(table)], InputRules(time_zone="Europe/Berlin"), refuse_nothing)) == [
        PlannedSource(str(tmp_path / "sub/a.wav"), time=evening),
        PlannedSource("/b.wav"),
        PlannedSource("s3://bucket/c.wav", time=evening),
    ]


def test_a_parquet_table_with_a_column_of_any_name(tmp_path: Path) -> None:
    path, evening = tmp_path / "clips.parquet", datetime(2026, 11, 28, 18, 45)
    parquet.write_table(pa.table({"clip": ["b.wav", "a.wav"], "time": [evening, None]}), path)
    assert list(find_sources([str(path)], InputRules("clip"), refuse_nothing)) == [
        PlannedSource(str(tmp_path / "b.wav"), time=evening.replace(tzinfo=UTC)),
        PlannedSource(str(tmp_path / "a.wav")),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"clip,label\na.wav,1\n",
            "has none of the columns source, path, file_name; name one of its own with --column: clip",
        ),
        (b"path,path\na.wav,b.wav\n", "has the column 'path' or 'time' twice"),
        (b"", "cannot be read as CSV"),
        (b"path\n\xff\xfe\xfd\n", "cannot be read as CSV"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "clips.csv").write_bytes(content)
    with pytest.raises(TableError, match=message):
        addresses(tmp_path / "clips.csv")


def test_rows_that_cannot_be_used_are_refused_and_the_others_taken(tmp_path: Path) -> None:
    table, refused = tmp_path / "clips.csv", list[FailedSource]()
    rows = ["time,path,n", "2026-11-28,a.wav,1", ",,2", "b.wav", "soon,c.wav,3", ",d.wav,x", ",a, b.wav,4", ",,5"]
    table.write_text("\n".join(rows))
    assert addresses(table, fail=refused.append) == [str(tmp_path / "a.wav"), str(tmp_path / "d.wav")]
    reasons = {failed.reason.partition(": ")[2].partition(" (")[0].partition(";")[0] for failed in refused}
    assert reasons == {
        "row 2 has no text in the column of sources",
        "row 3 has 1 cells in place of 3",
        "row 4 has no usable 'time'",
        "row 6 has 4 cells in place of 3",
        "row 7 has no text in the column of sources",
    }
    assert [failed.source for failed in refused if "time" in failed.reason] == [str(tmp_path / "c.wav")]
    assert {failed.error for failed in refused} == {"TableError"}


def test_times_of_any_type_in_parquet(tmp_path: Path) -> None:
    evening, path = datetime(2026, 11, 28, 18, 45), tmp_path / "clips.parquet"
    nanoseconds = pa.array([evening]).cast(pa.timestamp("ns")).cast(pa.int64()).to_pylist()[0] + 1
    for times, wanted in (
        (pa.array([nanoseconds], pa.int64()).cast(pa.timestamp("ns", "Europe/Berlin")), evening),
        (pa.array([evening.date()]), datetime(2026, 11, 28)),
    ):
        parquet.write_table(pa.table({"time": times, "path": ["a.wav"]}), path)
        (source,) = find_sources([str(path)], RULES, refuse_nothing)
        assert (source.address, source.time) == (str(tmp_path / "a.wav"), wanted.replace(tzinfo=UTC))


def test_other_tables_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "clips.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(TableError, match="cannot be read as Parquet"):
        addresses(tmp_path / "clips.parquet")
    with pytest.raises(TableError, match=r"none\.csv cannot be read \(No such file"):
        addresses(tmp_path / "none.csv")
    (tmp_path / "clips.csv").write_text("path\na.wav\n")
    with pytest.raises(TableError, match="has no column 'file'; name one of its own with --column: path"):
        addresses(tmp_path / "clips.csv", rules=InputRules("file"))


def test_addresses_of_other_file_systems() -> None:
    system = fsspec.filesystem("memory")
    for name in ("b.wav", "deep/a.flac", "notes.txt"):
        system.pipe_file(f"/inputs-test/{name}", b"123")
    try:
        both = ["memory:///inputs-test/b.wav", "memory:///inputs-test/deep/a.flac"]
        assert addresses("memory://inputs-test") == both
        assert addresses("memory://inputs-test/*.wav") == both[:1]
        assert [source.size for source in find_sources(["memory://inputs-test"], RULES, refuse_nothing)] == [3, 3]
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


def test_links_that_loop_are_not_followed(folder: Path) -> None:
    for name in ("here", "there"):
        (folder / name).symlink_to(folder)
    (folder / "loop.wav").symlink_to("loop.wav")
    assert addresses(folder / "**/*.wav") == [str(folder / "b.wav")]
    assert addresses(folder / "**") == addresses(folder)
    assert addresses(folder / "here/*.wav") == [str(folder / "here/b.wav")]  # a link that is named is


def test_signs_of_patterns_in_names(tmp_path: Path) -> None:
    folder = tmp_path / "[2026] what?"
    folder.mkdir()
    (folder / "clips.csv").write_text("path\n../x.wav\n")
    (folder / "set.tar").touch()
    (folder / "a.wav").touch()
    assert addresses(folder / "clips.csv") == [str(tmp_path / "x.wav")]
    assert addresses(folder / "*.wav") == [str(folder / "a.wav")]
    (tar,) = find_sources([str(folder / "*.tar")], RULES, refuse_nothing)
    assert tar.is_tar
    system = fsspec.filesystem("memory")
    system.pipe_file("/signs-test/[1] rec/a.wav", b"1")
    system.pipe_file("/signs-test/[1] rec/clips.csv", b"path\n../b.wav\n")
    try:
        assert addresses("memory://signs-test/[1] rec/") == ["memory:///signs-test/[1] rec/a.wav"]
        assert addresses("memory://signs-test/[1] rec/clips.csv") == ["memory://signs-test/b.wav"]
    finally:
        system.rm("/signs-test", recursive=True)


def test_a_folder_that_may_not_be_read_is_refused_and_the_others_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, refused, scandir = str(folder / "deep"), list[FailedSource](), os.scandir

    def guarded(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path) == secret:
            raise PermissionError(errno.EACCES, "Permission denied", secret)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert addresses(folder, fail=refused.append) == [str(folder / name) for name in ("a.FLAC", "b.wav", "set.tar")]
    reason = f"{secret} cannot be read (Permission denied); check its permissions"
    assert refused == [FailedSource(secret, reason, "AudioError")]
    with pytest.raises(AudioError, match="deep cannot be read"):
        addresses(secret)
