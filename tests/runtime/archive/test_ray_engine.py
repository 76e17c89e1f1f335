"""Archives that workers on Ray make: whatever happens on the way, the table is that of an undisturbed local run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("ray", reason="the extra edgecap[ray] is not installed")

import pyarrow as pa
from pyarrow import parquet

from edgecap.archive import engine, ray_engine
from edgecap.archive.engine import default_engine
from edgecap.archive.job import ArchiveJob, ArchiveRun, ArchiveSummary
from edgecap.archive.plan import ShardSize
from edgecap.errors import BundleError, ConfigError, OutputError
from edgecap.util.progress import no_progress
from support.mqtt_parts import eventually
from support.parallel import ray_parts
from support.signals import RATE, noise

SHARDS = 6


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short sounds, two for each shard; one is broken."""
    folder = tmp_path_factory.mktemp("recordings")
    sound = noise(1.6)
    for number in range(2 * SHARDS - 1):
        soundfile.write(folder / f"{number:02d}.wav", np.roll(sound, 500 * number) * (0.1 + 0.05 * number), RATE)
    (folder / "99.wav").write_bytes(b"nothing")
    return folder


def test_all_cores_work_where_ray_is_installed_and_there_is_work_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_engine(9) == "local"  # as the tests' environment says
    monkeypatch.setenv("EDGECAP_ENGINE", "cluster")
    with pytest.raises(ConfigError, match=r"^EDGECAP_ENGINE is 'cluster'; use local or ray, or unset it$"):
        default_engine(9)
    monkeypatch.delenv("EDGECAP_ENGINE")
    monkeypatch.setattr(engine, "usable_cores", lambda: 2)
    assert [default_engine(shards) for shards in (1, 2)] == ["local", "ray"]
    monkeypatch.setattr(engine, "usable_cores", lambda: 1)
    assert default_engine(2) == "local"
    monkeypatch.setattr(engine, "usable_cores", lambda: 2)
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    assert default_engine(2) == "local"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECAP_HOME", str(tmp_path / "home"))


def job(recordings: Path, out: Path, tiny_folder: Path, address: str | None = None, workers: int = 2) -> ArchiveJob:
    return ArchiveJob(
        inputs=(str(recordings),),
        out=str(out),
        model=str(tiny_folder),
        size=ShardSize(files=2),
        threads=1,
        engine="ray" if address else "local",
        workers=workers if address else None,
        address=address,
    )


def make(job: ArchiveJob) -> ArchiveSummary:
    with ArchiveRun(job, lambda *_: None, no_progress) as run:
        run.step()
        return run.summary()


def without_waiting(errors: str) -> str:
    """Without the lines by which Ray says that it looked for the internet in vain, or that a driver is not gone yet."""
    expected = ("network_util.cc", "waiting for a free core of the Ray cluster")
    return "".join(line for line in errors.splitlines(keepends=True) if not any(each in line for each in expected))


def tables(out: Path) -> tuple[pa.Table, pa.Table]:
    """Captions and failures, in the order of the shards."""
    captions, failures = (
        pa.concat_tables(parquet.read_table(path) for path in sorted((out / kind).glob("*.parquet")))
        for kind in ("captions", "failures")
    )
    assert [path.name for path in (out / "captions").iterdir() if path.name.startswith(".")] == []
    return captions, failures


@pytest.fixture(scope="module")
def undisturbed(recordings: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, ...]:
    out = tmp_path_factory.mktemp("local") / "out"
    assert make(job(recordings, out, tiny_folder)).made == SHARDS
    return tables(out)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_make_the_same_table_and_make_again_what_is_gone_or_damaged(
    *,
    ray_cluster: str,
    recordings: Path,
    tiny_folder: Path,
    tmp_path: Path,
    undisturbed: tuple[pa.Table, ...],
    workers: int,
) -> None:
    wanted = job(recordings, tmp_path / "out", tiny_folder, ray_cluster, workers)
    summary = make(wanted)
    assert (summary.made, summary.failures, summary.files) == (SHARDS, 1, 2 * SHARDS)
    assert tables(tmp_path / "out") == undisturbed
    if workers == 1:
        return
    shards = sorted((tmp_path / "out" / "captions").iterdir())
    shards[0].unlink()
    shards[3].write_bytes(shards[3].read_bytes()[:-100])
    again = make(wanted)
    assert (again.made, again.damaged) == (2, 1)
    assert tables(tmp_path / "out") == undisturbed
    assert make(wanted).made == 0


@pytest.mark.usefixtures("home")
def test_a_worker_that_is_killed_in_a_shard_changes_no_row(
    *,
    ray_cluster: str,
    recordings: Path,
    tiny_folder: Path,
    tmp_path: Path,
    undisturbed: tuple[pa.Table, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(ray_engine, "shard_maker", partial(ray_parts.killed_in_shard_1, tmp_path))
    assert make(job(recordings, tmp_path / "out", tiny_folder, ray_cluster)).made == SHARDS
    assert (tmp_path / "killed").exists()
    assert "a worker ended in the middle of shard 000001; another does it again" in caplog.messages
    assert tables(tmp_path / "out") == undisturbed


@pytest.mark.usefixtures("home")
def test_a_full_disk_ends_the_run_with_nothing_half_written_and_the_next_one_goes_on(
    *,
    ray_cluster: str,
    recordings: Path,
    tiny_folder: Path,
    tmp_path: Path,
    undisturbed: tuple[pa.Table, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = job(recordings, tmp_path / "out", tiny_folder, ray_cluster)
    with monkeypatch.context() as patched:
        patched.setattr(ray_engine, "shard_maker", ray_parts.full_at_shard_1)
        with pytest.raises(OutputError, match=r"shard-000001.parquet cannot be written \(File too large\)"):
            make(wanted)
    written = {path.name for path in (tmp_path / "out" / "captions").iterdir()}
    assert "shard-000001.parquet" not in written
    assert all(name.startswith("shard-") for name in written)
    assert make(wanted).made == SHARDS - len(written)
    assert tables(tmp_path / "out") == undisturbed


def test_a_driver_that_is_killed_is_started_again(
    *,
    ray_cluster: str,
    recordings: Path,
    tiny_folder: Path,
    tmp_path: Path,
    undisturbed: tuple[pa.Table, ...],
    edgecap: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    out = tmp_path / "out"
    arguments = ["archive", recordings, "-o", out, "--model", tiny_folder, "--shard-files", "2", "--threads", "1"]
    arguments += ["--address", ray_cluster, "--workers", "1", "--json"]
    command = [sys.executable, "-m", "edgecap", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        eventually(lambda: any((out / "captions").glob("*.parquet")) or driver.poll() is not None, 100)
        driver.kill()
    done = edgecap(*arguments)
    assert (done.returncode, without_waiting(done.stderr)) == (3, "")  # one sound is broken
    assert json.loads(done.stdout)["captions"] == undisturbed[0].num_rows
    assert tables(out) == undisturbed


@pytest.mark.usefixtures("home")
def test_a_second_driver_is_refused_and_the_first_one_goes_on(
    *, ray_cluster: str, recordings: Path, tiny_folder: Path, tmp_path: Path, undisturbed: tuple[pa.Table, ...]
) -> None:
    wanted = job(recordings, tmp_path / "out", tiny_folder, ray_cluster)
    with ArchiveRun(wanted, lambda *_: None, no_progress) as run:
        with pytest.raises(OutputError, match="is being written by another edgecap archive"):
            make(wanted)
        run.step()
    assert tables(tmp_path / "out") == undisturbed


def test_a_node_without_the_model_or_with_other_taught_sounds_is_refused(
    recordings: Path, tiny_folder: Path, tmp_path: Path, undisturbed: tuple[pa.Table, ...]
) -> None:
    with ArchiveRun(job(recordings, tmp_path / "out", tiny_folder), lambda *_: None, no_progress) as run:
        source, works = run._source, run._works
        run._extend(None)
        work = next(works([0]))
    assert ray_engine.shard_maker(source, 1)(work).captions == 2
    with pytest.raises(BundleError, match=r"has no model \w{12}…; copy the folder /nowhere to the same place there"):
        ray_engine.shard_maker(replace(source, model="/nowhere", identity="0" * 64), 1)
    other = replace(work, options=replace(work.options, sounds="0" * 64))
    with pytest.raises(ConfigError, match="has other taught sounds than the archive"):
        ray_engine.shard_maker(source, 1)(other)
