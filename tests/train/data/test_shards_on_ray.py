"""Shards of training data that workers on Ray make: the bytes of one process, whatever happens on the way."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("ray", reason="the extra edgecap[ray] is not installed")

from edgecap.cli import run
from edgecap.cluster.session import Workers
from edgecap.errors import OutputError
from edgecap.util.progress import no_progress
from edgecap_train.data.pseudo import PseudoRecipe, Spread, pseudo_caption
from edgecap_train.data.shards import sole_writer
from edgecap_train.teachers.teacher import ConsensusTeacher
from support.parallel.teachers import load_killed_once, load_on_full_disk
from support.signals import RATE, tone

RECIPE = PseudoRecipe(per_shard=2, captions=2)
SHARDS = 3


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files for three shards; one cannot be read."""
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(2 * SHARDS - 1):
        soundfile.write(folder / f"{number}.wav", tone(1.0, frequency=200.0 * (number + 1)), RATE)
    (folder / "9.wav").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def teacher(material: Path) -> ConsensusTeacher:
    return ConsensusTeacher.load(material / "tagger", material / "captions.csv")


@pytest.fixture(scope="module")
def undisturbed(sounds: Path, teacher: ConsensusTeacher, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("local")
    pseudo_caption(teacher, sounds, out, RECIPE, progress=no_progress)
    return content(out)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the lock."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_workers_make_again_what_is_gone_or_damaged_and_the_bytes_are_those_of_one_process(
    *,
    ray_cluster: str,
    sounds: Path,
    material: Path,
    tmp_path: Path,
    undisturbed: dict[str, bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    for name, data in undisturbed.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    shutil.rmtree(out / "shards" / "0000")
    audio = out / "shards" / "0001" / "audio.npy"
    audio.write_bytes(audio.read_bytes()[:-100])  # a disk lost its end
    kept = (out / "shards" / "0002" / "audio.npy").stat().st_mtime_ns
    (tmp_path / "recipe.toml").write_text("per_shard = 2\ncaptions = 2\n")
    command = ["train", "pseudo-caption", str(tmp_path / "recipe.toml"), "--audio", str(sounds), "-o", str(out)]
    command += ["--tagger", str(material / "tagger"), "--captions", str(material / "captions.csv")]
    assert run([*command, "--engine", "ray", "--workers", "2", "--address", ray_cluster]) == 0
    assert "1 files left out" in capsys.readouterr().out
    assert content(out) == undisturbed
    assert (out / "shards" / "0002" / "audio.npy").stat().st_mtime_ns == kept


def test_a_killed_worker_and_a_full_disk_change_no_byte(
    *,
    ray_cluster: str,
    sounds: Path,
    material: Path,
    teacher: ConsensusTeacher,
    tmp_path: Path,
    undisturbed: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    out, paths = tmp_path / "out", (material / "tagger", material / "captions.csv")
    workers = Workers(count=1, threads=1, address=ray_cluster)
    full = Spread(load=partial(load_on_full_disk, *paths), workers=workers)
    with pytest.raises(OutputError, match="File too large"):
        pseudo_caption(teacher, sounds, out, RECIPE, progress=no_progress, spread=full)
    assert not any((out / "shards").glob("*"))
    killed = Spread(load=partial(load_killed_once, *paths, tmp_path), workers=workers)
    pseudo_caption(teacher, sounds, out, RECIPE, progress=no_progress, spread=killed)
    assert "a worker ended in the middle of shard 0000; another does it again" in caplog.messages
    assert content(out) == undisturbed


def test_a_second_command_on_the_same_shards_is_refused(
    sounds: Path, teacher: ConsensusTeacher, tmp_path: Path
) -> None:
    with sole_writer(tmp_path), pytest.raises(OutputError, match="is being written by another edgecap"):
        pseudo_caption(teacher, sounds, tmp_path, RECIPE, progress=no_progress)


def test_scenes_of_workers_are_those_of_one_process(ray_cluster: str, sources: list[str], tmp_path: Path) -> None:
    command = ["train", "scenes", *sources, "--shards", "2", "--per-shard", "2"]
    assert run([*command, "-o", str(tmp_path / "local")]) == 0
    options = ["--engine", "ray", "--workers", "2", "--address", ray_cluster]
    assert run([*command, "-o", str(tmp_path / "ray"), *options]) == 0
    assert content(tmp_path / "ray") == content(tmp_path / "local")
    lengths = [np.load(path) for path in sorted((tmp_path / "ray").glob("shards/*/lengths.npy"))]
    assert [each.shape for each in lengths] == [(2,), (2,)]


def test_scenes_of_other_settings_are_refused_before_anything_is_loaded(
    sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = {"per_shard": 2, "rate": 16_000, "least_count": 4, "seed": 1000}
    (tmp_path / "scenes.json").write_text(json.dumps(begun))
    assert run(["train", "scenes", *sources, "-o", str(tmp_path), "--per-shard", "3", "--seed", "7"]) == 2
    assert capsys.readouterr().err == (
        f"edgecap: error: {tmp_path} was begun with other per_shard, seed; name another folder with --out\n"
    )
    arguments = ["train", "scenes", *sources, "-o", str(tmp_path), "--per-shard", "2", "--wild", "street"]
    assert run(arguments) == 2
    assert "was begun with other wild;" in capsys.readouterr().err
    (tmp_path / "scenes.json").write_text("[")
    assert run(["train", "scenes", *sources, "-o", str(tmp_path)]) == 12


def test_workers_need_the_engine_ray(sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "scenes", *sources, "-o", str(tmp_path), "--workers", "2"]) == 2
    assert capsys.readouterr().err == (
        "edgecap: error: --workers and --address are for workers of Ray; add --engine ray\n"
    )
