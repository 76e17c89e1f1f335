"""Training a decoder on cached features: the encoder stays as it was, the decoder learns, the student is complete."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from edgecap.errors import RecipeError
from edgecap_train.checkpoints.checkpoint import load_student
from edgecap_train.distill.cached_features import SOUND, write_features
from edgecap_train.distill.losses import teaching_heads
from edgecap_train.distill.recipe import AugmentRecipe, LossRecipe, ModelRecipe, StudentOptimizer, TrainingRecipe
from edgecap_train.distill.run_student import build_student, train_student
from edgecap_train.distill.start import Start, start_from
from edgecap_train.models.frontend import LogMelLayer
from edgecap_train.text.tokenizer import Tokenizer
from support.training_run import VOCABULARY, write_shards

RECIPE = TrainingRecipe(
    name="decoder",
    model=ModelRecipe(
        encoder="small", d_model=16, heads=2, layers=1, feed_forward=16, dropout=0.0, freeze_encoder=True
    ),
    loss=LossRecipe(captions_per_clip=1, tags=0.0, frames=0.0),
    optimizer=StudentOptimizer(
        steps=60, batch=8, decoder_rate=2e-2, warm_up=4, encoder_alone=0, average=0.8, bf16=False
    ),
    augment=AugmentRecipe(chance=1.0, time_width=10, gain=6.0),
    evaluate_every=30,
    save_every=20,
    record_every=1,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder as `edgecap train scenes` writes it, and two recordings with captions."""
    write_shards(tmp_path / "shards")
    (tmp_path / "vocabulary.json").write_text(json.dumps(VOCABULARY))
    time = np.arange(16_000) / 16_000
    with (tmp_path / "dev.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "caption_1"])
        for name, pitch in (("low", 300.0), ("high", 3_000.0)):
            soundfile.write(tmp_path / f"{name}.wav", 0.25 * np.sin(2 * np.pi * pitch * time), 16_000)
            writer.writerow([f"{name}.wav", f"a {name} tone"])
    return tmp_path


def run(data: Path, recipe: TrainingRecipe = RECIPE) -> Path:
    torch.set_num_threads(1)
    train_student(recipe, data, data / "run", development=data / "dev.csv", start=Start(), tagger=data)
    return data / "run"


def test_the_decoder_learns_and_the_encoder_stays_as_it_was(data: Path) -> None:
    torch.manual_seed(RECIPE.seed)
    before = build_student(RECIPE, VOCABULARY).encoder.state_dict()
    folder = run(data)
    saved = load_student(folder / "student.safetensors").student
    for name, tensor in saved.encoder.state_dict().items():
        torch.testing.assert_close(tensor, before[name], msg=name)
    losses = [
        line["sequence"]
        for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        if "sequence" in line
    ]
    assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_features_are_computed_once_with_and_without_augmentation(data: Path) -> None:
    folder = run(data) / "features"
    plain, varied = (np.load(folder / f"0000-{variant}" / f"{SOUND}.npy") for variant in (0, 1))
    assert plain.shape == varied.shape == (16, 3, 12)
    assert not np.array_equal(plain, varied)
    saved = load_student(data / "run" / "student.safetensors").student
    audio, lengths = (
        torch.from_numpy(np.load(data / "shards" / "0000" / f"{name}.npy")) for name in ("audio", "lengths")
    )
    with torch.inference_mode():
        expected = saved.encode(LogMelLayer(saved.config.front_end)(audio.float() / 32_768, lengths))
    np.testing.assert_allclose(plain.astype(np.float32), expected.numpy(), atol=2e-2, rtol=2e-3)
    written = (folder / "0000-0" / f"{SOUND}.npy").stat().st_mtime_ns
    run(data)
    assert (folder / "0000-0" / f"{SOUND}.npy").stat().st_mtime_ns == written


def test_processes_compute_the_features_of_their_own_shards_which_are_those_of_one_process(data: Path) -> None:
    torch.manual_seed(RECIPE.seed)
    student, tokenizer = build_student(RECIPE, VOCABULARY), Tokenizer(VOCABULARY)
    alone = write_features(student, RECIPE, data, data / "whole", tokenizer)
    names = sorted(path.name for path in alone.iterdir())
    assert names == ["0000-0", "0000-1", "0001-0", "0001-1"]
    for process in (0, 1):
        write_features(student, RECIPE, data, data / "shared", tokenizer, (process, 2))
        assert sorted(path.name for path in (data / "shared").iterdir()) == names[: 2 * process + 2]
    for name in names:
        ours, theirs = (np.load(data / folder / name / f"{SOUND}.npy") for folder in ("shared", "whole"))
        np.testing.assert_array_equal(ours, theirs)


def test_losses_that_only_an_encoder_can_learn_from_are_refused(data: Path) -> None:
    with pytest.raises(RecipeError, match="freeze_encoder"):
        run(data, replace(RECIPE, loss=replace(RECIPE.loss, tags=0.2)))


def test_crops_without_tags_need_no_tagger(data: Path) -> None:
    recipe = replace(
        RECIPE,
        model=replace(RECIPE.model, freeze_encoder=False),
        augment=replace(RECIPE.augment, crop=0.64),
        loss=replace(RECIPE.loss, caption=0.0, frames=1.0),
        optimizer=replace(RECIPE.optimizer, steps=2),
    )
    assert (run(data, recipe) / "last.pt").is_file()


def test_another_run_starts_from_one_on_cached_features_with_its_encoder_and_its_last_decoder(data: Path) -> None:
    folder = run(data)
    student = build_student(RECIPE, VOCABULARY)
    start_from(student, teaching_heads(student, RECIPE.loss), folder, VOCABULARY)
    encoder = load_student(folder / "student.safetensors").student.encoder.state_dict()
    decoder = torch.load(folder / "last.pt", weights_only=True)["average"]
    assert encoder
    for name, tensor in student.encoder.state_dict().items():
        torch.testing.assert_close(tensor, encoder[name], msg=name)
    for name, tensor in student.decoder.state_dict().items():
        torch.testing.assert_close(tensor, decoder[f"module.decoder.{name}"], msg=name)
