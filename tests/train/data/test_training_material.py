"""What training begins with, by the commands that make it: scenes out of a pool, and the captioner of tag scores."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import soundfile
import torch

from edgecap.bundle.vocabulary import read_vocabulary
from edgecap.cli import run
from edgecap_train.data.batches import ShardStream
from edgecap_train.teachers.tagger import Tagger
from edgecap_train.text.handwritten_captions import SOUNDS
from edgecap_train.text.tokenizer import Tokenizer
from support.signals import noise, tone

CLASSES = sorted({name for *_, names in SOUNDS for name in names})
LABELS = CLASSES[:12]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of two sounds and a broken one, captions, two labelled recordings and a broken one, a random tagger."""
    folder = tmp_path_factory.mktemp("material")
    for name in ("pool", "recordings", "tagger"):
        (folder / name).mkdir()
    soundfile.write(folder / "pool" / "tone.wav", tone(1.0), 16_000)
    soundfile.write(folder / "pool" / "noise.wav", noise(1.5), 16_000)
    (folder / "pool" / "broken.wav").write_bytes(b"nothing")
    rows = [f"{name}.wav,esc50,{name}" for name in ("tone", "broken", "noise")]
    (folder / "pool" / "manifest.csv").write_text("\n".join(["file,set,label", *rows]) + "\n")
    for number in range(2):
        pitch = tone(1.0, frequency=300.0 * (number + 1))
        soundfile.write(folder / "recordings" / f"clip__id{number}.wav", pitch, 16_000)
    (folder / "recordings" / "clip__id2.wav").write_bytes(b"nothing")
    rows = [f"clip__id{number}.wav,a tone sounds,a whistle blows" for number in range(3)]
    (folder / "recordings" / "table.csv").write_text("\n".join(["file,caption_1,caption_2", *rows]) + "\n")
    for table, names in (("captions.csv", ("other",)), ("labels.csv", ("id0", "id1", "id2"))):
        with (folder / table).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["youtube_id", "caption", "labels"])
            writer.writerows([name, "a tone sounds", ";".join(LABELS)] for name in names)
    torch.manual_seed(0)
    torch.save(Tagger().state_dict(), folder / "tagger" / "mn04_as_mAP_432.pt")
    with (folder / "tagger" / "class_labels_indices.csv").open("w", newline="") as file:
        rows = [*CLASSES, *(f"class {number}" for number in range(527 - len(CLASSES)))]
        csv.writer(file).writerows([["display_name"], *([name] for name in rows)])
    return folder


def sources(material: Path) -> list[str]:
    return [
        "--audio",
        str(material / "pool"),
        "--captions",
        str(material / "captions.csv"),
        "--tagger",
        str(material / "tagger"),
        "--development",
        str(material / "recordings" / "table.csv"),
    ]


def test_scenes_are_composed_once_and_a_broken_clip_of_the_pool_is_named(
    material: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "scenes", *sources(material), "-o", str(tmp_path), "--per-shard", "2"]
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
        "texts.json",
    }
    words = Tokenizer(read_vocabulary(tmp_path / "vocabulary.json"))
    batch = next(ShardStream(tmp_path / "shards", words, 20, 0, 4).batches())
    assert batch.samples.shape == (4, 160_000)
    assert all(batch.pseudo)


def test_the_captioner_of_tag_scores_is_trained_by_its_command(
    material: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
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
        *sources(material),
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
