"""A whole training run on a few made scenes: it learns, stops, goes on, and refuses what cannot be learnt from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from edgecap.errors import CheckpointError, RecipeError, TrainingError
from edgecap_train.checkpoints.checkpoint import load_student, save_student
from edgecap_train.distill.recipe import (
    AugmentRecipe,
    LossRecipe,
    ModelRecipe,
    OptimizerRecipe,
    TrainingRecipe,
    read_recipe,
)
from edgecap_train.distill.run_student import (
    DevelopmentSet,
    build_student,
    mix_encoder,
    start_from_run,
    start_from_yamnet,
)
from edgecap_train.distill.trainer import ShardStream, Trainer, teaching_heads
from edgecap_train.models.student import Student
from edgecap_train.text.captions import SPECIALS, Tokenizer
from support.signals import tone

VOCABULARY = (*SPECIALS, "a", "low", "high", "tone")
RECIPE = TrainingRecipe(
    name="test",
    model=ModelRecipe(d_model=32, heads=2, layers=1, feed_forward=64, dropout=0.0),
    loss=LossRecipe(captions_per_clip=1, tags=0.02, clip=0.1, clip_kind="mse"),
    optimizer=OptimizerRecipe(
        steps=24, batch=4, encoder_rate=1e-3, decoder_rate=1e-2, warm_up=4, encoder_alone=2, average=0.8, bf16=False
    ),
    augment=AugmentRecipe(chance=0.0, gain=0.0),
    evaluate_every=12,
)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """One shard of eight one-second tones, four low and four high, each captioned as what it is."""
    folder = tmp_path / "shards" / "0000"
    folder.mkdir(parents=True)
    time = np.arange(16_000) / 16_000
    pitches = [300.0] * 4 + [3_000.0] * 4
    audio = np.stack([np.sin(2 * np.pi * pitch * time) * 8_000 for pitch in pitches]).astype(np.int16)
    np.save(folder / "audio.npy", audio)
    np.save(folder / "frames.npy", np.random.default_rng(0).standard_normal((8, 32, 384)).astype(np.float16))
    np.save(folder / "logits.npy", np.full((8, 527), -6.0, np.float16))
    np.save(folder / "lengths.npy", np.full(8, 16_000))
    texts = [[["a", "low", "tone"]]] * 4 + [[["a", "high", "tone"]]] * 4
    (folder / "texts.json").write_text(json.dumps(texts))
    (tmp_path / "shards" / "0001.partial").mkdir()
    return tmp_path / "shards"


class Judge:
    """Counts evaluations and keeps the students it is given."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.saved = folder, 0, 0

    def evaluate(self, student: Student) -> dict[str, float]:
        assert not student.training
        self.asked += 1
        return {"cider_d": float(self.asked)}

    def save(self, student: Student, scores: dict[str, float]) -> None:
        self.saved += 1
        save_student(self.folder / "student.safetensors", student, VOCABULARY, {"cider_d": str(scores["cider_d"])})


def trainer(recipe: TrainingRecipe, shards: Path, run: Path) -> tuple[Trainer, Judge]:
    torch.manual_seed(0)
    student, judge = build_student(recipe, VOCABULARY), Judge(run)
    stream = ShardStream(shards, Tokenizer(VOCABULARY), 20, 0, recipe.optimizer.batch)
    return Trainer(recipe, student, teaching_heads(student, recipe), stream, run, judge.evaluate, judge.save), judge


def losses(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_lowers_its_losses_and_keeps_the_best_student(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    made, judge = trainer(RECIPE, shards, run)
    batch = next(made.stream.batches())
    before = made._learn(batch)
    made.run()
    after = made._learn(batch)
    assert after["sequence"] < 0.6 * before["sequence"]
    assert after["tags"] < before["tags"]
    assert (judge.asked, judge.saved) == (2, 2)
    saved = load_student(run / "student.safetensors")
    assert saved.vocabulary == VOCABULARY
    assert saved.metadata["cider_d"] == "2.0"


def test_a_run_goes_on_where_it_was_saved(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first, _ = trainer(replace(RECIPE, optimizer=replace(RECIPE.optimizer, steps=12)), shards, run)
    first.run()
    second, judge = trainer(RECIPE, shards, run)
    second.run()
    assert second.step == 24
    assert judge.asked == 1
    assert [entry["step"] for entry in losses(run) if "cider_d" in entry] == [12, 24]


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_checkpoint(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first, _ = trainer(replace(RECIPE, optimizer=replace(RECIPE.optimizer, steps=12)), shards, run)
    first.run()
    kept = (run / "student.safetensors").read_bytes()
    second, _ = trainer(RECIPE, shards, run)
    second._resume()
    with torch.no_grad():
        second.student.decoder.embedding.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="step 12"):
        second._learn(next(second.stream.batches()))
    assert (run / "student.safetensors").read_bytes() == kept


def test_frozen_blocks_keep_their_weights(shards: Path, tmp_path: Path) -> None:
    made, _ = trainer(RECIPE, shards, tmp_path / "run")
    made.student.encoder.blocks[:2].requires_grad_(False)  # type: ignore[operator, index, union-attr]
    frozen = next(made.student.encoder.parameters()).clone()
    made._learn(next(made.stream.batches()))
    torch.testing.assert_close(next(made.student.encoder.parameters()), frozen)


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0000.partial").mkdir()
    stream = ShardStream(tmp_path, Tokenizer(VOCABULARY), 20, 0)
    with pytest.raises(TrainingError, match="no shards"):
        next(stream.batches())


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('name = "x"\nspeed = 3\n', "speed"),
        ('name = "x"\n[optimizer]\nstep = 3\n', "optimizer.step"),
        ('name = "x"\n[optimizer]\nsteps = "many"\n', "steps"),
        ('name = "x"\n[optimizer]\nencoder_rate = -1e-3\n', "encoder_rate"),
        ('name = "x"\nseed = -1\n', "seed"),
        ('name = "x"\n[model]\nheads = 5\n', "multiple of heads, and 192 is none of 5"),
        ('name = "x"\n[model]\nd_model = 7\nheads = 1\n', "must be even"),
        ('name = "x"\n[augment]\ntime_masks = -1\n', "time_masks"),
        ('name = "x"\n[loss]\nsequence = 0\nsupervised = 0\ntags = 0\nframes = 0\n', "nothing would be learnt"),
        ("seed = 1\n", "name"),
        ("name = \n", "recipe"),
    ],
)
def test_a_recipe_with_a_wrong_key_is_refused_with_its_place(text: str, place: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=place):
        read_recipe(path)


def test_the_bundled_models_recipes_read_and_are_under_five_million_parameters() -> None:
    import edgecap_train

    recipes = [read_recipe(path) for path in (Path(edgecap_train.__file__).parent / "recipes").glob("tiny*.toml")]
    assert len({(recipe.model.d_model, recipe.model.feed_forward) for recipe in recipes}) == 1, "parts of one model"
    recipe = recipes[0]
    student = build_student(recipe, (*SPECIALS, *map(str, range(2_300))))
    assert sum(parameter.numel() for parameter in student.parameters()) < 5_000_000


def test_a_run_starts_from_another_runs_weights_word_by_word(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first, _ = trainer(RECIPE, shards, run)
    first.run()
    vocabulary = (*SPECIALS, "tone", "bell", "a")
    student = build_student(RECIPE, vocabulary)
    start_from_run(student, teaching_heads(student, RECIPE), run, vocabulary)
    averaged = first.average.module
    rows = student.decoder.embedding.weight
    torch.testing.assert_close(rows[4], averaged.decoder.embedding.weight[VOCABULARY.index("tone")])
    torch.testing.assert_close(rows[6], averaged.decoder.embedding.weight[VOCABULARY.index("a")])
    torch.testing.assert_close(next(student.encoder.parameters()), next(averaged.encoder.parameters()))


def test_an_encoder_is_mixed_with_the_weights_it_began_with() -> None:
    student = build_student(RECIPE, VOCABULARY)
    trained = {name: tensor.clone() for name, tensor in student.encoder.state_dict().items()}
    mix_encoder(student, {name: torch.zeros_like(tensor) for name, tensor in trained.items()}, 0.75)
    for name, tensor in student.encoder.state_dict().items():
        torch.testing.assert_close(tensor, 0.75 * trained[name])


def test_a_run_without_a_checkpoint_or_of_another_shape_cannot_be_started_from(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    student = build_student(RECIPE, VOCABULARY)
    with pytest.raises(CheckpointError):
        start_from_run(student, teaching_heads(student, RECIPE), run, VOCABULARY)
    trainer(RECIPE, shards, run)[0].run()
    wider = replace(RECIPE, model=replace(RECIPE.model, d_model=64))
    other = build_student(wider, VOCABULARY)
    with pytest.raises(CheckpointError, match="another shape"):
        start_from_run(other, teaching_heads(other, wider), run, VOCABULARY)


def test_yamnets_weights_are_refused_by_another_encoder(tmp_path: Path) -> None:
    recipe = replace(RECIPE, model=replace(RECIPE.model, encoder="efficientnet-b2"))
    student = build_student(recipe, VOCABULARY)
    with pytest.raises(CheckpointError, match=r"set model\.encoder"):
        start_from_yamnet(student, teaching_heads(student, recipe), tmp_path, tmp_path)


def test_a_development_recording_that_cannot_be_read_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(1.0), 16_000)
    (tmp_path / "broken.wav").write_bytes(b"nothing")
    (tmp_path / "table.csv").write_text("file,caption_1\nbroken.wav,a tone\ntone.wav,a low tone\n")
    judge = DevelopmentSet(tmp_path / "table.csv", build_student(RECIPE, VOCABULARY), VOCABULARY)
    assert [reference.file.name for reference in judge.references] == ["tone.wav"]
    assert len(judge.log_mels) == 1
    assert "broken.wav" in caplog.text
