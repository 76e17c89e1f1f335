"""A set that no pool has is told before minutes of captioning, by both commands that take one."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgecap.cli import run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two recordings with captions, and a pool of two sets."""
    (tmp_path / "pool").mkdir()
    for name in ("a.wav", "b.wav", "pool/a.wav", "pool/b.wav"):
        soundfile.write(tmp_path / name, np.zeros(16_000), 16_000)
    tables: dict[str, list[tuple[str, ...]]] = {
        "dev.csv": [("file", "caption_1"), ("a.wav", "a dog barks"), ("b.wav", "rain falls")],
        "pool/manifest.csv": [("file", "set", "label"), ("a.wav", "street", "car"), ("b.wav", "home", "door")],
    }
    for name, rows in tables.items():
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "captioning"),
    [
        (["robustness"], "edgecap_train.evaluation.robustness.evaluate_robustness"),
        (["train", "confidence"], "edgecap_train.confidence.material.heard_recordings"),
    ],
)
def test_an_unknown_set_is_told_before_anything_is_captioned(
    command: list[str], captioning: str, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def captioned(*_: object, **__: object) -> None:
        raise AssertionError("captions were made first")

    monkeypatch.setattr(captioning, captioned)
    monkeypatch.setattr("edgecap_train.confidence.material.SourceTagger", lambda folder: folder)
    options = ["--data", str(data / "dev.csv"), "--pool", str(data / "pool"), "--tagger", str(data)]
    assert run([*command, "tiny", *options, "--held-out", "stret"]) == 12
    assert "no pool has a set 'stret'; there are home, street" in " ".join(capsys.readouterr().err.split())
