"""`edgecap archive` as a process: what it prints, and what is left when it is killed, stopped or the disk is full."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgecap.archive.settings import WantedOptions
from edgecap.cli import run
from edgecap.errors import AudioError, OutputError, TableError
from support.archives.parts import archived, rows_of, short_sounds
from support.mqtt_parts import eventually
from support.signals import RATE, noise, tone

Run = Callable[..., subprocess.CompletedProcess[str]]


@contextmanager
def driver(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """`edgecap archive` while the block lasts."""
    command = [sys.executable, "-m", "edgecap", "archive", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def shards(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("captions/shard-*"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_sounds(tmp_path_factory.mktemp("clips"), 12)


@pytest.fixture
def in_folder(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process and in `tmp_path`; its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "-m", str(tiny_folder)])
        return (code, *capfd.readouterr())

    return call


@pytest.fixture(scope="module")
def undisturbed(clips: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive that all others are compared with, in shards of two sounds."""
    out = tmp_path_factory.mktemp("archives") / "undisturbed"
    archived(clips, out=out, model=tiny_folder)
    return out


def test_summaries_and_exit_codes(edgecap: Run, clips: Path, tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = edgecap("archive", clips, "-o", out, "-m", tiny_folder, "--shard-files", "5")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{out}: 12 captions of 12 files in 3 shards, 3 made now\n"
    (tmp_path / "bad.wav").write_text("none")
    again = edgecap("archive", clips, tmp_path / "bad.wav", "-o", out, "-m", tiny_folder, "--json")
    summary = json.loads(again.stdout)
    assert (again.returncode, again.stderr) == (AudioError.exit_code, "")
    assert summary.pop("sound_seconds") == 0.0
    assert summary.pop("seconds") > 0.0
    counts = {"files": 13, "shards": 4, "captions": 12, "failures": 1, "made": 1, "damaged": 0, "added": 1}
    assert summary == {"out": str(out), **counts}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.wav"], 3, "there is no"),
        (["."], 3, "no sound file there; name others"),
        (["http://127.0.0.1:1/a.wav"], 3, "cannot be reached"),
        (["clips.csv"], TableError.exit_code, "has none of the columns source, path, file_name"),
        (
            ["clips.csv", "--column", "x"],
            TableError.exit_code,
            "has no column 'x'; name one of its own with --column: clip",
        ),
        ([], 2, "there is no input"),
        ([".", "--time-zone", "Mars"], 2, "there is no time zone 'Mars'"),
        ([".", "--window", "60"], 2, "the window must be between"),
        ([".", "--engine", "local", "--workers", "2"], 2, "--workers and --address need --engine ray"),
        ([".", "-o", "gopher://x"], 2, "Protocol not known"),
        ([".", "-o", "taken"], OutputError.exit_code, "taken holds files and is no archive; name a new folder with -o"),
    ],
)
def test_what_bad_input_gets(
    in_folder: Callable[..., tuple[int, str, str]], tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "clips.csv").write_text("clip\na.wav\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/letter.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    ended, printed, error = in_folder("archive", "-o", "out", *arguments)
    assert (ended, printed) == (code, "")
    assert message in " ".join(error.replace("│", "").split())
    assert sorted(tmp_path.rglob("*")) == before


def test_a_killed_driver_costs_the_shard_it_was_making(
    edgecap: Run, clips: Path, undisturbed: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    out, most = tmp_path / "out", random.randint(1, 4)
    with driver(clips, "-o", out, "-m", tiny_folder, "--shard-files", "2", "-t", "1") as process:
        eventually(lambda: len(shards(out)) >= most, seconds=100)
        process.kill()
        process.wait(20)
    left = shards(out)
    assert rows_of(out) == [row for row in rows_of(undisturbed) if f"shard-{row['shard']:06d}.parquet" in left]
    done = edgecap("archive", "-o", out, "-m", tiny_folder, "--json")
    assert json.loads(done.stdout)["made"] == 6 - len(left)
    assert rows_of(out) == rows_of(undisturbed)
    assert not list(out.rglob("*.tmp"))


def test_two_drivers_at_once(clips: Path, undisturbed: Path, tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (clips, "-o", out, "-m", tiny_folder, "--shard-files", "2", "-t", "1")
    with driver(*arguments) as first, driver(*arguments) as second:
        ends = {driver.communicate(timeout=100)[1]: driver.returncode for driver in (first, second)}
    assert 0 in ends.values()
    for error, code in ends.items():
        assert code == 0 or (code == OutputError.exit_code and "being written by another edgecap archive" in error)
    assert rows_of(out) == rows_of(undisturbed)


def test_a_full_disk_ends_it_with_one_line_and_loses_no_shard(edgecap: Run, tiny_folder: Path, tmp_path: Path) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    soundfile.write(clips / "a-short.wav", tone(1), RATE)
    soundfile.write(clips / "b-long.wav", np.concatenate([noise(1, seed=seed) for seed in range(25)]), RATE)
    soundfile.write(clips / "c-short.wav", noise(1), RATE)
    options = ("-m", tiny_folder, "--shard-files", "1", "--window", "1")
    archived(clips, out=tmp_path / "room", model=tiny_folder, files=1, options=WantedOptions(window=1.0))
    sizes = [path.stat().st_size for path in sorted((tmp_path / "room/captions").iterdir())]
    limit = (sizes[0] + sizes[1]) // 2
    assert max(sizes[0], sizes[2]) < limit < sizes[1]
    full = edgecap(
        *("archive", clips, "-o", out, *options),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    place = out / "captions/shard-000001.parquet"
    assert (full.returncode, full.stdout) == (OutputError.exit_code, "")
    assert (
        full.stderr == f"edgecap: error: {place} cannot be written (File too large); free space or name another place\n"
    )
    assert shards(out) == ["shard-000000.parquet"]
    assert not list(out.rglob("*.tmp"))
    done = edgecap("archive", clips, "-o", out, *options, "--json")
    assert json.loads(done.stdout)["made"] == 2
    assert len(rows_of(out)) == 27


def test_a_terminated_driver_leaves_whole_shards(
    clips: Path, undisturbed: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with driver(clips, "-o", out, "-m", tiny_folder, "--shard-files", "2", "-t", "1") as process:
        eventually(lambda: shards(out), seconds=100)
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode in {128 + signal.SIGTERM, -signal.SIGTERM, 0}  # the latter two: it was quicker
    assert not list(out.rglob("*.tmp"))
    archived(out=out, model=tiny_folder)
    assert rows_of(out) == rows_of(undisturbed)


def test_watch_takes_what_a_recorder_has_finished(tiny_folder: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "rec", tmp_path / "out"
    folder.mkdir()
    arguments = (folder, "-o", out, "-m", tiny_folder, "-t", "1", "--watch", "--settle", "0.2", "--json")
    with driver(*arguments) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for number in range(2):
            soundfile.write(tmp_path / "new.wav", noise(1, seed=number), RATE)
            os.utime(tmp_path / "new.wav", (0, 0))  # its recorder has no clock
            (tmp_path / "new.wav").rename(folder / f"20261128_18450{number}.wav")
            summary = json.loads(process.stdout.readline())
            assert (summary["files"], summary["captions"], summary["shards"]) == (number + 1, number + 1, number + 1)
        folder.rename(tmp_path / "away")  # a card that is taken out, and put in again
        assert "it is looked for every 0.2 s" in process.stderr.readline()
        soundfile.write(tmp_path / "away/20261128_184502.wav", noise(1, seed=2), RATE)
        (tmp_path / "away").rename(folder)
        assert json.loads(process.stdout.readline())["captions"] == 3
        process.terminate()
        printed, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    assert json.loads(printed)["captions"] == 3
    assert [Path(row["source"]).name for row in rows_of(out)] == [f"20261128_18450{number}.wav" for number in range(3)]


def test_ray_that_is_not_installed_is_named(edgecap: Run, clips: Path, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "hidden/ray").mkdir(parents=True)
    (tmp_path / "hidden/ray/__init__.py").write_text("raise ImportError('no ray')\n")
    hidden = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "hidden"), os.environ.get("PYTHONPATH", "")])}
    done = edgecap("archive", clips, "-o", tmp_path / "out", "-m", tiny_folder, "--engine", "ray", env=hidden)
    assert done.returncode == 5
    assert "[ray]" in done.stderr
    assert done.stderr.count("\n") == 1
