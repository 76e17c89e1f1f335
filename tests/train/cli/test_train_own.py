"""From a folder of recordings and a table of captions to a bundle that captions, in three commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from edgecap.bundle.bundle import load_bundle
from edgecap.cli import run
from edgecap_train.data.shards import read_shard
from support.signals import tone
from support.small_student import small_yamnet

pytest.importorskip("aac_metrics")
pytest.importorskip("onnx")

SMALL = ["model.d_model=16", "model.heads=2", "model.layers=1", "model.feed_forward=16", "model.dropout=0"]
SMALL += [
    "optimizer.steps=60",
    "optimizer.warm_up=1",
    "optimizer.bf16=false",
    "evaluate_every=30",
    "record_every=20",
    "augment.chance=0",
]
SMALL += ["optimizer.decoder_rate=0.02", "optimizer.average=0.5", "optimizer.encoder_rate=0.01"]


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """A small encoder in place of YAMNet's."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with small_yamnet():
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight tones, one broken file, and their captions in `captions.csv`."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "sounds").mkdir()
    rows = ["file,caption"]
    for number in range(8):
        pitch = ("grave", "aigu\u00eb")[number % 2]
        sound = tone(1.0 + number / 4, frequency=(200.0, 3_000.0)[number % 2])
        soundfile.write(folder / "sounds" / f"{number}.wav", sound, 16_000)
        rows += [f"{number}.wav,un son {pitch}", f"{number}.wav,un ton {pitch}"]
    (folder / "sounds" / "broken.wav").write_bytes(b"nothing")
    (folder / "captions.csv").write_text("\n".join([*rows, "broken.wav,rien"]) + "\n", encoding="utf-8")
    return folder


def arguments(recordings: Path, out: Path, *more: str) -> list[str]:
    own = ["--audio", str(recordings / "sounds"), "--captions", str(recordings / "captions.csv"), "-o", str(out)]
    return ["train", "student", *own, *more, *(word for key in SMALL for word in ("--set", key))]


def test_three_commands_lead_from_recordings_to_captions(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, bundle = tmp_path / "run", tmp_path / "mine"
    assert run(arguments(recordings, out)) == 0
    printed = capsys.readouterr()
    assert f"edgecap import {out} -o BUNDLE" in printed.out
    assert "1 recordings could not be read; 6 are left" in printed.err
    shard = read_shard(out / "data" / "shards" / "0000")
    assert shard.audio.shape == (6, 160_000)
    assert shard.logits.shape == (6, 0)
    assert {words for captions in shard.human for words in captions} <= {
        tuple(f"un {noun} {pitch}".split()) for noun in ("son", "ton") for pitch in ("grave", "aigu\u00eb")
    }
    learnt = [
        line for line in map(json.loads, (out / "metrics.jsonl").read_text().splitlines()) if "supervised" in line
    ]
    assert learnt[-1]["supervised"] < learnt[0]["supervised"]
    assert run(["caption", "--model", str(out), str(recordings / "sounds" / "0.wav")]) == 4
    assert f"{out} is a training run, not a bundle; type: edgecap import {out} -o BUNDLE" in capsys.readouterr().err
    assert run(["import", str(out), "-o", str(bundle)]) == 0
    assert "aiguë" in load_bundle(bundle).vocabulary
    capsys.readouterr()
    assert run(["caption", "--model", str(bundle), str(recordings / "sounds" / "0.wav")]) == 0
    assert "un " in capsys.readouterr().out
    before = np.load(out / "data" / "shards" / "0000" / "audio.npy", mmap_mode="r")
    assert run(arguments(recordings, out)) == 0  # ended already: nothing is made again
    assert np.array_equal(before, np.load(out / "data" / "shards" / "0000" / "audio.npy"))


def test_what_the_command_lacks_is_named(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    table = tmp_path / "few.csv"
    table.write_text("file,caption\n0.wav,un son\n1.wav,un ton\n2.wav,un son\n")
    own = ["--audio", str(recordings / "sounds"), "-o", str(out)]
    for words, code, message in (
        (["tiny", "-o", str(out)], 2, "--data SCENES, or --audio FOLDER with --captions CSV"),
        (own, 2, "--data SCENES, or --audio FOLDER with --captions CSV"),
        (["--data", str(out), "-o", str(out)], 2, "edgecap train student tiny"),
        (["tiny", *own, "--captions", str(table)], 2, "the recipe tiny learns from a tagger: add --tagger FOLDER"),
        (["tinny", *own, "--captions", str(table)], 2, "there is no recipe tinny; name a TOML file, or one of the"),
        ([*own, "--captions", str(table), "--set", "optimizer.step=3"], 2, "the nearest is optimizer.steps"),
        ([*own, "--captions", str(table)], 12, "few.csv names 3 recordings, 1 of them to learn from"),
        ([*own, "--captions", str(tmp_path / "none.csv")], 12, "none.csv cannot be read"),
    ):
        assert run(["train", "student", *words]) == code
        assert message in capsys.readouterr().err
    one = tmp_path / "one.csv"
    one.write_text(f"file,caption\n{recordings / 'sounds' / '0.wav'},un son\n")
    assert run(arguments(recordings, out, "--development", str(one))) == 12
    assert "one.csv names 1 recording, and a score needs at least 2" in capsys.readouterr().err
    assert not out.exists()
    table.write_text("file,caption\n" + "".join(f"none{number}.wav,un son\n" for number in range(5)))
    assert run(["train", "student", *own, "--captions", str(table)]) == 3
    assert "none of 5 recordings of few.csv can be read" in capsys.readouterr().err
    (out / "data").mkdir(parents=True)
    (out / "data" / "recordings.json").write_text("{}")
    assert run(arguments(recordings, out)) == 2
    assert "was made of other recordings" in capsys.readouterr().err
