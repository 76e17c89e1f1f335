"""What the data of training are made from: a pool, captions, labelled recordings, a tagger."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import soundfile
import torch

from edgecap_train.teachers.tagger import Tagger
from edgecap_train.text.handwritten_captions import SOUNDS
from support.signals import noise, tone

CLASSES = sorted({name for *_, names in SOUNDS for name in names})
LABELS = CLASSES[:12]


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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
