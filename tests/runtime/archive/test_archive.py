"""An archive from its inputs to its tables, in this process."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import numpy as np
import pytest
import soundfile
from pyarrow import parquet

from edgecap._version import __version__
from edgecap.archive.inputs.find import PlannedSource
from edgecap.archive.job import ArchiveJob, ArchiveRun
from edgecap.archive.plan import ArchivePlan, ShardSize
from edgecap.archive.schema import captions_schema, failures_schema
from edgecap.archive.settings import WantedOptions
from edgecap.archive.store import open_store
from edgecap.archive.tables import read_table, table_bytes
from edgecap.captioner import Captioner
from edgecap.errors import AudioError, ConfigError, OutputError
from edgecap.util.progress import no_progress
from support.archives.parts import archived, rows_of, short_sounds
from support.file_server import file_server
from support.signals import RATE, noise
from support.tiny_model import write_tiny_bundle


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five short sounds."""
    return short_sounds(tmp_path_factory.mktemp("clips"), 5)


@pytest.fixture(scope="module")
def finished(clips: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of them in three shards. Do not change it."""
    out = tmp_path_factory.mktemp("archives") / "finished"
    archived(clips, out=out, model=tiny_folder)
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of that archive."""
    return shutil.copytree(finished, tmp_path / "out")


def test_a_row_is_what_the_captioner_says(
    captioner: Captioner, tiny_folder: Path, sounds: Path, tmp_path: Path
) -> None:
    path = shutil.copy(sounds / "long.wav", tmp_path / "20261128_184500.wav")
    summary = archived(path, out=tmp_path / "out", model=tiny_folder, options=WantedOptions(hop=5.0, beam=2))
    captions = list(captioner.caption_file(path, hop=5.0, beam=2))
    rows = rows_of(tmp_path / "out")
    assert (summary.files, summary.shards, summary.captions, summary.failures) == (1, 1, len(captions), 0)
    assert summary.sound_seconds == 25.0
    began = datetime(2026, 11, 28, 18, 45, tzinfo=UTC)
    for row, caption in zip(rows, captions, strict=True):
        embedding = row.pop("embedding")
        assert (embedding is None) == caption.silent
        assert row == {
            "source": str(path),
            "start": caption.start,
            "end": caption.end,
            "time": began + timedelta(seconds=caption.start),
            "caption": caption.text,
            "confidence": None,
            "score": caption.score and pytest.approx(caption.score),
            "beams": [{"text": beam.text, "score": pytest.approx(beam.score)} for beam in caption.beams],
            "tags": [],
            "level": pytest.approx(caption.level_dbfs),
            "silent": caption.silent,
            "model": captioner.bundle.identity,
            "edgecap": __version__,
            "shard": 0,
        }
    block = soundfile.read(path, dtype="float32", frames=10 * RATE)[0]
    wanted = captioner.encode_samples(block).clip_embedding.astype(np.float16)
    first = parquet.read_table(tmp_path / "out/captions/shard-000000.parquet")
    np.testing.assert_allclose(first["embedding"][0].as_py(), wanted, atol=2e-3)
    assert first.schema.equals(captions_schema(len(wanted)))
    assert first.schema.metadata[b"edgecap.model"].decode() == captioner.bundle.identity


def test_shards_end_after_so_many_files_or_bytes(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    sizes = [4, 4, 4, 9, 20, 1, 1, 1, 1, None]
    sources = [PlannedSource(f"/{number}.wav", size) for number, size in enumerate(sizes)]
    assert ArchivePlan.read(store).add(store, sources, ShardSize(4, 10))
    plan = ArchivePlan.read(store)
    cut = [[source.size for source in plan.sources(shard)] for shard in plan.shards]
    assert cut == [[4, 4], [4], [9], [20], [1, 1, 1, 1], [None]]
    assert not ArchivePlan([]).add(store, sources[:1], ShardSize())  # another driver was quicker: its plan counts
    grown = plan.add(store, [PlannedSource("/new.wav", 1)], ShardSize())
    assert grown is not None
    again = ArchivePlan.read(store)
    assert (grown.shards, grown.files) == (again.shards, again.files) == ([0, 1, 2, 3, 4, 5, 6], 11)
    assert grown.sources(6) == again.sources(6) == (PlannedSource("/new.wav", 1),)
    (tmp_path / "captions").mkdir()
    (tmp_path / "captions/shard-000007.parquet").touch()
    with pytest.raises(OutputError, match=r"plan-000002.parquet is damaged, missing"):  # a shard without a plan
        ArchivePlan.read(store)
    (tmp_path / "captions/shard-000007.parquet").unlink()
    (tmp_path / "plan/plan-000000.parquet").unlink()
    with pytest.raises(OutputError, match=r"plan-000001.parquet is damaged, missing or of another version"):
        ArchivePlan.read(store)


def test_a_second_run_opens_no_source_and_writes_nothing(
    out: Path, clips: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.rglob("[!.]*.*")}
    monkeypatch.setattr(Captioner, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    summary = archived(clips, out=out, model=tiny_folder)
    assert (summary.files, summary.captions, summary.made, summary.added) == (5, 5, 0, 0)
    assert archived(out=out, model=tiny_folder).made == 0  # without inputs it goes on with those that it has
    assert {path: path.stat().st_mtime_ns for path in before} == before


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "deleted": lambda data: None,
    "emptied": lambda data: b"",
    "cut in the middle": lambda data: data[: len(data) // 2],
    "cut by a byte": lambda data: data[:-1],
    "cut in front": lambda data: data[100:],
    "replaced": lambda data: b"something else" * 1000,
    "without a column": lambda data: table_bytes(read_table(data).drop_columns(["tags"])),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_shard_that_is_lost_or_damaged_is_made_again(
    out: Path, finished: Path, clips: Path, tiny_folder: Path, damage: str
) -> None:
    shard = out / "captions/shard-000001.parquet"
    data = DAMAGES[damage](shard.read_bytes())
    shard.unlink()
    if data is not None:
        shard.write_bytes(data)
    summary = archived(clips, out=out, model=tiny_folder)
    assert (summary.made, summary.damaged) == (1, int(data is not None))
    assert rows_of(out) == rows_of(finished)


def test_a_changed_value_is_seen_by_verify(out: Path, finished: Path, clips: Path, tiny_folder: Path) -> None:
    shard = out / "captions/shard-000002.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 8] ^= 0xFF
    shard.write_bytes(data)
    assert archived(clips, out=out, model=tiny_folder).made == 0
    assert archived(clips, out=out, model=tiny_folder, verify=True).damaged == 1
    assert rows_of(out) == rows_of(finished)


def test_a_shard_of_another_archive_is_made_again(
    out: Path, finished: Path, clips: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    archived(clips, out=tmp_path / "other", model=tiny_folder, options=WantedOptions(beam=1))
    shutil.copy(tmp_path / "other/captions/shard-000000.parquet", out / "captions")
    assert archived(clips, out=out, model=tiny_folder).damaged == 1
    assert rows_of(out) == rows_of(finished)


def test_new_files_become_new_shards(finished: Path, tiny_folder: Path, tmp_path: Path) -> None:
    folder, out = short_sounds(tmp_path / "clips", 3), tmp_path / "out"
    archived(folder, out=out, model=tiny_folder)
    before = rows_of(out)
    short_sounds(folder, 5)  # two more
    (folder / "000.wav").unlink()
    summary = archived(folder, out=out, model=tiny_folder)
    assert (summary.files, summary.added, summary.shards, summary.made) == (5, 2, 3, 1)
    assert rows_of(out)[:3] == before
    assert [row["shard"] for row in rows_of(out)] == [0, 0, 1, 2, 2]
    other = short_sounds(tmp_path / "other", 1)
    assert archived(folder, other, out=out, model=tiny_folder).added == 1  # an input in addition
    with pytest.raises(OutputError, match=f"was made from {other} too; name that as well"):
        archived(folder, out=out, model=tiny_folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (WantedOptions(beam=1), "was made with --beam 3 and this is --beam 1; type --beam 3, or name another folder"),
        (WantedOptions(window=5.0), "--window 10.0 and this is --window 5.0"),
        (WantedOptions(hop=5.0), "--hop 10.0 and this is --hop 5.0"),
        (WantedOptions(time_zone="Europe/Berlin"), "--time-zone UTC and this is --time-zone Europe/Berlin"),
        (WantedOptions(time_from="modified"), "--time-from name and this is --time-from modified"),
    ],
)
def test_a_changed_option_is_refused(
    out: Path, clips: Path, tiny_folder: Path, options: WantedOptions, message: str
) -> None:
    with pytest.raises(OutputError, match=message):
        archived(clips, out=out, model=tiny_folder, options=options)


def test_another_model_or_version_is_refused(
    out: Path, clips: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_tiny_bundle(tmp_path / "other", seed=1).folder
    with pytest.raises(
        OutputError, match=r"was made with the model \S+ \(\w{12}…\) and this is .*; name that one with --model"
    ):
        archived(clips, out=out, model=other)
    settings = out / "archive.json"
    settings.write_text(settings.read_text().replace(f'"edgecap": "{__version__}"', '"edgecap": "0.0.9"'))
    with pytest.raises(OutputError, match=r"was made by edgecap 0\.0\.9 and this is .*; install that one"):
        archived(clips, out=out, model=tiny_folder)
    settings.write_text(settings.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(OutputError, match=r"its format is 2, and this edgecap reads format 1"):
        archived(clips, out=out, model=tiny_folder)
    settings.write_text("{}")
    with pytest.raises(OutputError, match=r"archive.json cannot be used"):
        archived(clips, out=out, model=tiny_folder)


def test_an_installed_model_is_known_again_without_its_name(
    clips: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGECAP_HOME", str(tmp_path))
    shutil.copytree(tiny_folder, tmp_path / "models/mine")
    job = ArchiveJob(inputs=(str(clips),), out=str(tmp_path / "out"), model="mine", threads=1)
    for again in (job, ArchiveJob(inputs=(), out=job.out)):
        with ArchiveRun(again, lambda *_: None, no_progress) as run:
            run.step()
    assert run.summary().made == 0


def test_taught_sounds_are_part_of_what_an_archive_is(out: Path, clips: Path, tiny_folder: Path) -> None:
    settings = out / "archive.json"
    settings.write_text(settings.read_text().replace('"sounds": null', '"sounds": "0123"'))
    with pytest.raises(OutputError, match="was made with other taught sounds; set EDGECAP_SOUNDS"):
        archived(clips, out=out, model=tiny_folder)


def test_nothing_to_caption_leaves_no_folder(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "new/out"
    with pytest.raises(AudioError, match="empty: no sound file there; name others"):
        archived(tmp_path / "empty", out=out, model=tiny_folder)
    with pytest.raises(ConfigError, match="there is no input"):
        archived(out=out, model=tiny_folder)
    with pytest.raises(ValueError, match="the window must be between"):
        archived(tmp_path, out=out, model=tiny_folder, options=WantedOptions(window=60.0))
    with pytest.raises(ConfigError, match="an address is empty"):
        archived("", out=out, model=tiny_folder)
    monkeypatch.setenv("EDGECAP_ENGINE", "nonsense")
    with pytest.raises(ConfigError, match="EDGECAP_ENGINE is 'nonsense'"):
        archived(tmp_path, out=out, model=tiny_folder)
    monkeypatch.delenv("EDGECAP_ENGINE")
    assert not out.exists()
    with pytest.raises(OutputError, match="holds files and is no archive; name a new folder"):
        archived(tmp_path / "empty", out=tmp_path, model=tiny_folder)


def test_sounds_that_cannot_be_read_are_rows_of_their_own(tiny_folder: Path, tmp_path: Path) -> None:
    folder = short_sounds(tmp_path / "clips", 1)
    (folder / "a-empty.wav").touch()
    (folder / "b-text.wav").write_text("no sound")
    soundfile.write(folder / "c-cut.flac", noise(4), RATE)
    (folder / "c-cut.flac").write_bytes((folder / "c-cut.flac").read_bytes()[:60_000])
    (folder / os.fsdecode(b"d\xff.wav")).write_bytes(b"none")
    soundfile.write(folder / "e-nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    table = tmp_path / "clips.csv"
    table.write_text(f"path\n{folder}/000.wav\n{folder}/gone.wav\ns3no://x\n")
    summary = archived(folder, table, out=tmp_path / "out", model=tiny_folder, files=100)
    failures = {Path(row["source"]).name: row for row in rows_of(tmp_path / "out", "failures")}
    assert sorted(failures) == [*("a-empty.wav", "b-text.wav", "c-cut.flac", "d%FF.wav", "e-nan.wav", "gone.wav", "x")]
    assert summary.failures == 7
    assert "is empty" in failures["a-empty.wav"]["reason"]
    assert "does not exist" in failures["gone.wav"]["reason"]
    assert {row["error"] for name, row in failures.items() if name != "x"} == {"AudioError"}
    assert "damaged or cut short" in failures["c-cut.flac"]["reason"]
    captioned = [Path(row["source"]).name for row in rows_of(tmp_path / "out")]
    assert captioned == ["000.wav", "c-cut.flac"]  # with what could be read
    path = tmp_path / "out/failures/shard-000000.parquet"
    assert parquet.read_schema(path).equals(failures_schema())


def test_retry_makes_shards_with_failures_again(tiny_folder: Path, tmp_path: Path) -> None:
    folder, out = short_sounds(tmp_path / "clips", 3), tmp_path / "out"
    data = (folder / "002.wav").read_bytes()
    (folder / "002.wav").write_bytes(b"")
    assert archived(folder, out=out, model=tiny_folder).failures == 1
    (folder / "002.wav").write_bytes(data)
    summary = archived(folder, out=out, model=tiny_folder)
    assert (summary.failures, summary.made) == (1, 0)
    summary = archived(folder, out=out, model=tiny_folder, retry=True)
    assert (summary.failures, summary.made, summary.captions) == (0, 1, 3)
    assert rows_of(out, "failures") == []


def test_tar_files_are_read_sound_by_sound(tiny_folder: Path, tmp_path: Path) -> None:
    folder = short_sounds(tmp_path / "clips", 2)
    names = {"b/20261128_184500.wav": "000.wav", "b/bad.flac": "", "a.txt": "000.wav", "a.wav": "001.wav"}
    for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz")):
        with tarfile.open(tmp_path / f"set{suffix}", mode) as tar:  # type: ignore[call-overload]
            for name, source in names.items():
                data = (folder / source).read_bytes() if source else b"none"
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    (tmp_path / "cut.tar").write_bytes((tmp_path / "set.tar").read_bytes()[:40_000])
    (tmp_path / "none.tar").write_bytes(b"no tar file")
    archived(tmp_path / "*.tar*", out=tmp_path / "out", model=tiny_folder)
    rows = rows_of(tmp_path / "out")
    sources = [row["source"].replace(str(tmp_path), "…") for row in rows]
    assert sources == [
        "tar://b/20261128_184500.wav::…/cut.tar",
        "tar://b/20261128_184500.wav::…/set.tar",
        "tar://a.wav::…/set.tar",
        "tar://b/20261128_184500.wav::…/set.tar.gz",
        "tar://a.wav::…/set.tar.gz",
    ]
    assert [row["time"] is not None for row in rows] == [True, True, False, True, False]
    failures = {
        row["source"].replace(str(tmp_path), "…"): row["reason"] for row in rows_of(tmp_path / "out", "failures")
    }
    assert failures.keys() == {
        "…/cut.tar",
        "…/none.tar",
        "tar://b/bad.flac::…/cut.tar",
        "tar://b/bad.flac::…/set.tar",
        "tar://b/bad.flac::…/set.tar.gz",
    }
    assert "1 sounds before that were read" in failures["…/cut.tar"]


def test_a_name_that_is_twice_in_a_tar_file_counts_once_and_any_name_can_be_opened(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder, lines = short_sounds(tmp_path / "clips", 2), "two\nlines.wav"
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for name, source in (("../a.wav", "000.wav"), ("../a.wav", "001.wav"), (lines, "001.wav")):
            tar.add(folder / source, name)
    archived(tmp_path / "set.tar", out=tmp_path / "out", model=tiny_folder)
    sources = [row["source"] for row in rows_of(tmp_path / "out")]
    assert sources == [f"tar://{name}::{tmp_path}/set.tar" for name in ("../a.wav", lines)]
    with fsspec.open(sources[1]) as file:
        assert file.read() == (folder / "001.wav").read_bytes()
    (failure,) = rows_of(tmp_path / "out", "failures")
    assert failure["source"] == sources[0]
    assert "twice" in failure["reason"]


def test_a_row_of_a_table_that_is_refused_is_a_failure_and_taken_when_it_is_mended(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder, out = short_sounds(tmp_path / "clips", 2), tmp_path / "out"
    table = folder / "clips.csv"
    table.write_text("path,time\n001.wav,soon\n")
    with pytest.raises(AudioError, match=r"no sound file that can be used; .*row 1 has no usable 'time'"):
        archived(table, out=out, model=tiny_folder)
    assert not out.exists()
    table.write_text("path,time\n000.wav,\n001.wav,soon\n")
    for made in (1, 0):  # each run says it
        summary = archived(table, out=out, model=tiny_folder)
        assert (summary.made, summary.files, summary.captions, summary.failures) == (made, 1, 1, 1)
        (failure,) = rows_of(out, "failures")
        assert (failure["source"], failure["shard"]) == (str(folder / "001.wav"), -1)
        assert "row 2 has no usable 'time'" in failure["reason"]
    table.write_text("path,time\n000.wav,\n001.wav,2026-11-28\n")
    summary = archived(table, out=out, model=tiny_folder)
    assert (summary.made, summary.files, summary.captions, summary.failures) == (1, 2, 2, 0)
    assert rows_of(out, "failures") == []
    assert rows_of(out)[1]["time"] == datetime(2026, 11, 28, tzinfo=UTC)


def test_the_time_of_a_change_is_the_end_of_a_recording(tiny_folder: Path, tmp_path: Path) -> None:
    folder = short_sounds(tmp_path / "clips", 1)
    ended = datetime(2026, 11, 28, 18, 45, tzinfo=UTC)
    os.utime(folder / "000.wav", (ended.timestamp(), ended.timestamp()))
    archived(folder, out=tmp_path / "out", model=tiny_folder, options=WantedOptions(time_from="modified"))
    assert rows_of(tmp_path / "out")[0]["time"] == ended - timedelta(seconds=1)


def test_windows_behind_the_last_year_have_no_time(tiny_folder: Path, tmp_path: Path, sounds: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(f"path,time\n{sounds}/long.wav,9999-12-31T23:59:55Z\n")
    archived(table, out=tmp_path / "out", model=tiny_folder)
    assert [row["time"] is None for row in rows_of(tmp_path / "out")] == [False, True, True]


def test_sounds_of_a_web_server(tiny_folder: Path, tmp_path: Path) -> None:
    folder = short_sounds(tmp_path / "clips", 1)
    with file_server() as server:
        server.files["/a.wav"] = (folder / "000.wav").read_bytes()
        table = tmp_path / "clips.csv"
        table.write_text(f"path\n{server.url}/a.wav\n{server.url}/gone.wav\n")
        archived(table, out=tmp_path / "out", model=tiny_folder)
    assert [row["source"] for row in rows_of(tmp_path / "out")] == [f"{server.url}/a.wav"]
    (failure,) = rows_of(tmp_path / "out", "failures")
    assert failure["source"] == f"{server.url}/gone.wav"
    assert "cannot be read" in failure["reason"]


def test_one_folder_has_one_driver(out: Path, clips: Path, tiny_folder: Path) -> None:
    job = ArchiveJob(inputs=(str(clips),), out=str(out), model=str(tiny_folder))
    with (
        ArchiveRun(job, lambda *_: None, no_progress),
        pytest.raises(OutputError, match=rf"being written by another edgecap archive \(process {os.getpid()}\)"),
    ):
        archived(clips, out=out, model=tiny_folder)
    assert archived(clips, out=out, model=tiny_folder).made == 0


def test_what_a_killed_driver_left_is_removed(out: Path, clips: Path, tiny_folder: Path) -> None:
    rest = out / "captions/.shard-000000.parquet.0123abcd.tmp"
    rest.write_bytes(b"half")
    archived(clips, out=out, model=tiny_folder)
    assert not rest.exists()


def test_an_archive_in_memory_is_the_same(finished: Path, clips: Path, tiny_folder: Path) -> None:
    assert archived(clips, out="memory://archive-test", model=tiny_folder).made == 3
    assert rows_of("memory://archive-test") == rows_of(finished)
    assert archived(clips, out="memory://archive-test", model=tiny_folder).made == 0


def test_reading_tables_starts_no_thread_that_could_abort_a_short_process(finished: Path) -> None:
    script = (
        "import os, pathlib, sys; from edgecap.archive.schema import require_pyarrow; "
        "from edgecap.archive.tables import read_table; require_pyarrow(); count = len(os.listdir('/proc/self/task')); "
        "read_table(pathlib.Path(sys.argv[1]).read_bytes(), verify=True); "
        "assert len(os.listdir('/proc/self/task')) == count"
    )
    subprocess.run([sys.executable, "-c", script, str(finished / "captions/shard-000000.parquet")], check=True)
