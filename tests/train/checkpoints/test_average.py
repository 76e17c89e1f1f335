"""The mean of students: tensor by tensor, word by word, and what has none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgecap.cli import run as command
from edgecap.errors import CheckpointError, ConfigError
from edgecap_train.checkpoints.average import average_students
from edgecap_train.checkpoints.checkpoint import load_student, save_student
from edgecap_train.distill.run_student import build_student
from support.training_run import VOCABULARY, recipe


def write(path: Path, value: float, words: tuple[str, ...] = VOCABULARY, *changes: str) -> Path:
    """A student all of whose weights are `value`; the row of each word is `value` times its place."""
    path.parent.mkdir(exist_ok=True)
    student = build_student(recipe(path.parent, *changes), words)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.fill_(value)
        student.decoder.embedding.weight *= torch.arange(len(words))[:, None]
    save_student(path, student, words)
    return path


def test_each_tensor_is_the_mean_by_shares(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one.safetensors", 1.0), write(tmp_path / "run" / "student.safetensors", 5.0)
    average_students([one, other.parent], tmp_path / "mean.safetensors")
    average_students([one, other.parent], tmp_path / "near.safetensors", [3.0, 1.0])
    for name, value in (("mean", 3.0), ("near", 2.0)):
        saved = load_student(tmp_path / f"{name}.safetensors")
        for parameter in (*saved.student.encoder.parameters(), saved.student.decoder.memory_projection.weight):
            torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, value))
        rows = saved.student.decoder.embedding.weight.detach()[:, 0]
        torch.testing.assert_close(rows, value * torch.arange(len(VOCABULARY)).float())
    assert saved.metadata["of"].startswith("3 of ")


def test_words_are_found_by_their_name_and_unknown_ones_do_not_count(tmp_path: Path) -> None:
    turned = (*VOCABULARY[:4], *reversed(VOCABULARY[4:-1]), "unheard")
    one = write(tmp_path / "one.safetensors", 1.0)
    other = write(tmp_path / "other.safetensors", 3.0, turned)
    average_students([one, other], tmp_path / "mean.safetensors")
    saved = load_student(tmp_path / "mean.safetensors")
    assert saved.vocabulary == VOCABULARY
    rows = saved.student.decoder.embedding.weight.detach()[:, 0]
    for place, word in enumerate(VOCABULARY):
        expected = (place + 3.0 * turned.index(word)) / 2 if word in turned else float(place)
        assert float(rows[place]) == pytest.approx(expected)


def test_all_licences_that_are_stated_hold_for_the_mean(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.safetensors", 1.0) for name in ("one", "two", "three")]
    for path, licence in zip(paths, ("MIT", "CC-BY-NC-4.0"), strict=False):
        saved = load_student(path)
        save_student(path, saved.student, saved.vocabulary, {"licence": licence})
    average_students(paths, tmp_path / "mean.safetensors")
    assert load_student(tmp_path / "mean.safetensors").metadata["licence"] == "CC-BY-NC-4.0 AND MIT"


def test_what_has_no_mean_is_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, wide = write(tmp_path / "one.safetensors", 1.0), tmp_path / "wide.safetensors"
    write(wide, 1.0, VOCABULARY, "model.feed_forward=24")
    out = tmp_path / "mean.safetensors"
    assert command(["train", "average", str(one), "-o", str(out)]) == ConfigError.exit_code
    assert command(["train", "average", str(one), str(one), "--share", "1", "-o", str(out)]) == ConfigError.exit_code
    assert command(["train", "average", str(one), str(wide), "-o", str(out)]) == CheckpointError.exit_code
    assert command(["train", "average", str(one), str(tmp_path / "none"), "-o", str(out)]) == CheckpointError.exit_code
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4
    for line, part in zip(errors, ("at least two", "2 students and 1 shares", "another shape", "none"), strict=True):
        assert line.startswith("edgecap: error: ")
        assert part in line
    assert not out.exists()
    assert command(["train", "average", str(one), str(one), "-o", str(out)]) == 0
    assert out.is_file()
