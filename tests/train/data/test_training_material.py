"""What training begins with, by the commands that make it: scenes out of a pool, and the captioner of tag scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecap.bundle.vocabulary import read_vocabulary
from edgecap.cli import run
from edgecap_train.data.batches import ShardStream
from edgecap_train.text.tokenizer import Tokenizer


def test_scenes_are_composed_once_and_a_broken_clip_of_the_pool_is_named(
    sources: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "scenes", *sources, "-o", str(tmp_path), "--per-shard", "2"]
    assert run([*arguments, "--shards", "1"]) == 0
    assert f"{tmp_path}: 1 shards of 2 scenes, " in capsys.readouterr().out
    assert "broken.wav" in caplog.text
    assert "1 clips of the pool could not be read" in caplog.text
    before = (tmp_path / "shards" / "0000" / "audio.npy").stat().st_mtime_ns
    (tmp_path / "shards" / "0001.partial").mkdir()
    (tmp_path / "shards" / "0001.partial" / ".audio.npy.0.tmp").write_bytes(b"of a process that was killed")
    assert run([*arguments, "--shards", "2"]) == 0
    assert (tmp_path / "shards" / "0000" / "audio.npy").stat().st_mtime_ns == before
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["0000", "0001"]
    assert {path.name for path in (tmp_path / "shards" / "0001").iterdir()} == {
        "audio.npy",
        "frames.npy",
        "logits.npy",
        "lengths.npy",
        "human.json",
        "texts.json",
    }
    words = Tokenizer(read_vocabulary(tmp_path / "vocabulary.json"))
    batch = next(ShardStream(tmp_path / "shards", words, 20, 0, 4).batches())
    assert batch.samples.shape == (4, 160_000)
    assert all(batch.pseudo)


def test_the_captioner_of_tag_scores_is_trained_by_its_command(
    *,
    material: Path,
    sources: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "recipe.toml").write_text(
        'name = "small"\nsave_every = 1\nevaluate_every = 1\n[optimizer]\nsteps = 2\nbatch = 4\n'
    )
    out = tmp_path / "run"
    arguments = [
        "train",
        "teacher",
        "tagger",
        str(tmp_path / "recipe.toml"),
        *sources,
        "--labels",
        str(material / "labels.csv"),
        "-o",
        str(out),
        "--least-count",
        "1",
    ]
    assert run(arguments) == 0
    assert "trained" in capsys.readouterr().out
    assert "clip__id2.wav" in caplog.text
    assert "1 of 3 recordings cannot be read" in caplog.text
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "cider_d" in line] == [1, 2]
    assert (out / "teacher.safetensors").is_file()
    kept = (out / "last.pt").read_bytes()
    assert run(arguments) == 0
    assert (out / "last.pt").read_bytes() == kept
