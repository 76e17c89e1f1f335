"""Augmentation of clips on the device, the losses over them, and recipes with overrides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecap.errors import RecipeError, TrainingDataError
from edgecap_train.data.batches import Batch
from edgecap_train.distill.augment import Augment, AugmentedBatch, Draws, spec_augment
from edgecap_train.distill.distillation_loss import DistillationLoss, _picked
from edgecap_train.distill.losses import ClipLoss, TeachingHeads
from edgecap_train.distill.recipe import AugmentRecipe, LossRecipe, read_recipe
from edgecap_train.models.student import Student
from edgecap_train.models.yamnet import FRONT_END
from edgecap_train.text.tokenizer import END, Tokenizer
from edgecap_train.training.objective import Parts
from support.training_run import VOCABULARY, recipe, small_student

WORDS = Tokenizer(VOCABULARY)
STILL = AugmentRecipe(chance=0.0, gain=0.0)


def batch(lengths: list[int], room: int = 16_000) -> Batch:
    """Clips of constant samples, each with a level of its own, captioned "a low" and "high tone" in turns."""
    samples = torch.zeros(len(lengths), room, dtype=torch.int16)
    for row, length in enumerate(lengths):
        samples[row, :length] = 1_000 * (row + 1)
    captions = [[WORDS.encode(("a", "low") if row % 2 == 0 else ("high", "tone"), 20)] for row in range(len(lengths))]
    pseudo = [[ids for ids in clip if ids] for clip in captions]
    count = len(lengths)
    return Batch(
        samples,
        torch.tensor(lengths),
        torch.zeros(count, 32, 384),
        torch.zeros(count, 527),
        [[] for _ in lengths],
        pseudo,
        tuple(range(count)),
        tuple(map(str, range(count))),
        {},
    )


def augmented(augment: AugmentRecipe, clips: Batch, seed: int = 0) -> tuple[AugmentedBatch, torch.Tensor]:
    """The augmented batch, and the samples that the log-mel was taken of."""
    return through(Augment(FRONT_END, augment, WORDS, 20), clips, seed)


def through(augment: Augment, clips: Batch, seed: int = 0) -> tuple[AugmentedBatch, torch.Tensor]:
    inputs: list[torch.Tensor] = []
    hook = augment.log_mel.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    result = augment.forward(clips, Draws(seed, 0, len(clips.clips), clips.rows), lambda frames: frames // 32)
    hook.remove()
    return result, inputs[0]


def test_clips_short_enough_are_joined_one_after_the_other() -> None:
    clips = batch([6_000, 9_000, 12_000, 9_000])
    result, samples = augmented(replace(STILL, concatenate=1.0), clips)
    first, second = 1_000 / 32_768, 2_000 / 32_768
    torch.testing.assert_close(
        samples[0, [0, 5_999, 6_000, 14_999, 15_000]], torch.tensor([first, first, second, second, 0.0])
    )
    torch.testing.assert_close(samples[1, [0, 8_999, 9_000]], torch.tensor([second, second, first]))
    assert result.original.tolist() == [0.0, 0.0, 1.0, 1.0]
    assert result.memory_length.tolist() == [94 // 32, 94 // 32, 76 // 32, 57 // 32]
    words = ("a", "low", "followed", "by", "high", "tone")
    assert result.pseudo[0] == [[WORDS.ids[word] for word in words] + [END]]
    assert result.pseudo[2] == clips.pseudo[2]


def test_two_clips_are_mixed_and_their_captions_joined_with_and() -> None:
    result, samples = augmented(replace(STILL, mix=1.0), batch([16_000, 16_000]))
    louder, quieter = float(samples[0, 0]) * 32_768, float(samples[1, 0]) * 32_768
    assert 1_000 + 2_000 * 10 ** (-6 / 20) <= louder <= 3_001
    assert 2_000 + 1_000 * 10 ** (-6 / 20) <= quieter <= 3_001
    assert result.original.tolist() == [0.0, 0.0]
    words = ("high", "tone", "and", "a", "low")
    assert result.pseudo[1] == [[WORDS.ids[word] for word in words] + [END]]


def test_clips_are_joined_only_with_words_the_vocabulary_has() -> None:
    with pytest.raises(TrainingDataError, match="'followed by'"):
        Augment(FRONT_END, replace(STILL, concatenate=0.5), Tokenizer(("<pad>", "<start>", "<end>", "<unk>", "a")), 20)


def test_noise_lies_as_far_below_a_clip_as_the_recipe_says() -> None:
    _, plain = augmented(STILL, batch([16_000] * 6))
    _, noisy = augmented(replace(STILL, noise=1.0, noise_level=-20.0), batch([16_000] * 6))
    below = 20 * torch.log10((noisy - plain).std(1) / plain[:, 0])
    assert float(below.max()) <= -19.5
    assert float(below.min()) >= -40.5
    assert float(below.max() - below.min()) > 1.0


def test_the_level_changes_by_at_most_the_gain() -> None:
    _, plain = augmented(STILL, batch([16_000] * 32))
    _, changed = augmented(replace(STILL, gain=6.0), batch([16_000] * 32))
    decibels = 20 * torch.log10(changed[:, 0] / plain[:, 0])
    assert -6.0 <= float(decibels.min()) < -3.0
    assert 3.0 < float(decibels.max()) <= 6.0


def test_a_clip_draws_the_same_numbers_whichever_process_has_it() -> None:
    together = Draws(3, 7, 8, range(8))
    parts = [Draws(3, 7, 8, range(4)), Draws(3, 7, 8, range(4, 8))]
    for shape in ((), (3,)):
        expected = together.uniform(*shape)
        np.testing.assert_array_equal(np.concatenate([part.uniform(*shape) for part in parts]), expected)
    assert not np.array_equal(Draws(3, 8, 8, range(8)).uniform(), Draws(3, 7, 8, range(8)).uniform())


def test_masks_are_no_wider_than_they_may_be_and_leave_some_clips_alone() -> None:
    shown = torch.ones(64, 64, 200)
    augment = AugmentRecipe(chance=0.5, time_masks=1, time_width=30, band_masks=1, band_width=6)
    masked = spec_augment(shown.clone(), augment, Draws(0, 0, 64, range(64)), FRONT_END) == FRONT_END.silence
    times, bands = masked.all(1).sum(1), masked.all(2).sum(1)
    assert 0 < int(times.max()) <= 30
    assert 0 < int(bands.max()) <= 6
    untouched = int((~masked.any(2).any(1)).sum())
    assert 16 < untouched < 48


@pytest.fixture
def student() -> Student:
    return small_student(dropout=0.0)


def parts(student: Student, loss: LossRecipe, clips: Batch, augment: AugmentRecipe = STILL) -> dict[str, float]:
    torch.manual_seed(1)
    heads = TeachingHeads(student.dim, 527, 384, ClipLoss(student.dim, 384, loss.clip_kind, True))
    result, _ = augmented(augment, clips)
    losses: Parts = DistillationLoss(student, heads, loss, bf16=False)(
        result, Draws(0, 0, len(clips.clips), clips.rows), False
    )
    return {name: float(total.detach()) / max(1.0, float(count)) for name, (total, count) in losses.items()}


def test_losses_of_people_and_of_the_teacher_are_apart_and_weighted(student: Student) -> None:
    clips = batch([16_000] * 4)
    clips = replace(clips, human=[clips.pseudo[0], [], [], []])
    both = parts(student, LossRecipe(tags=0, frames=0, supervised=2.0, sequence=0.5), clips)
    assert set(both) == {"supervised", "sequence"}
    alone = parts(student, LossRecipe(tags=0, frames=0, sequence=0.0), clips)
    assert set(alone) == {"supervised"}
    assert both["supervised"] == pytest.approx(2.0 * alone["supervised"], rel=1e-5)


def test_joined_clips_have_no_losses_but_those_of_captions(student: Student) -> None:
    loss = LossRecipe(tags=1.0, frames=1.0, clip=1.0)
    assert all(parts(student, loss, batch([16_000] * 4))[name] > 0 for name in ("tags", "frames", "clip", "sequence"))
    joined = parts(student, loss, batch([8_000] * 4), replace(STILL, concatenate=1.0))
    assert [joined[name] for name in ("tags", "frames", "clip")] == [0.0, 0.0, 0.0]
    assert joined["sequence"] > 0


def test_a_clip_left_out_of_the_contrast_changes_nothing_for_the_others() -> None:
    torch.manual_seed(0)
    loss = ClipLoss(8, 6, "contrastive", exponentiate=True, shared=16)
    ours, theirs = torch.randn(5, 8), torch.randn(5, 6)
    counts = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0])
    kept = loss.losses(ours, theirs, counts).detach()
    assert float(kept[2]) == 0.0
    rows = [0, 1, 3, 4]
    torch.testing.assert_close(kept[rows].mean(), loss(ours[rows], theirs[rows]).detach(), rtol=1e-4, atol=1e-4)


def test_the_teachers_best_caption_is_always_learnt_and_peoples_are_drawn() -> None:
    draws = [np.random.default_rng(seed).random(64) for seed in range(40)]
    assert {_picked(4, 2, order, best=True)[0] for order in draws} == {0}
    assert {_picked(4, 2, order, best=True)[1] for order in draws} == {1, 2, 3}
    assert {_picked(4, 1, order, best=False)[0] for order in draws} == {0, 1, 2, 3}
    assert _picked(0, 3, draws[0], best=True) == []
    assert _picked(1, 3, draws[0], best=True) == [0]


def test_overrides_are_typed_and_named_where_they_are_wrong(tmp_path: Path) -> None:
    made = recipe(tmp_path, "optimizer.steps=7", "loss.clip_kind=mse", "optimizer.bf16=true", 'name="other"')
    assert (made.optimizer.steps, made.loss.clip_kind, made.optimizer.bf16, made.name) == (7, "mse", True, "other")
    for text, place in (
        ("optimizer.step=7", "optimizer.step"),
        ("optimizer.steps=many", "steps"),
        ("optimizer.steps=1.5", "steps"),
        ("loss.clip_kind=cosine", "clip_kind"),
        ("optimizer.batch=0", "batch"),
        ("augment.mix=2", "mix"),
        ("speed=1", "speed"),
        ("optimizer.steps", "KEY=VALUE"),
        ("name.first=x", "name is a value"),
    ):
        with pytest.raises(RecipeError, match=place) as error:
            recipe(tmp_path, text)
        assert "\n" not in str(error.value)
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml")


def test_a_crop_begins_at_a_memory_frame_and_has_the_teachers_frames_of_its_stretch() -> None:
    clips = batch([16_000] * 8)
    ramp = torch.arange(16_000, dtype=torch.int16).expand(8, -1).clone()
    frames = torch.arange(32.0)[None, :, None].expand(8, -1, 384).clone()
    clips = replace(clips, samples=ramp, frames=frames)
    module = Augment(FRONT_END, replace(STILL, crop=0.64), WORDS, 20, retag=lambda mean: mean[:, :5] * 10)
    result, samples = through(module, clips)
    hop = 32 * 160
    starts = (samples[:, 0] * 32_768 / hop).round()
    assert samples.shape == (8, 2 * hop)
    assert set(starts.tolist()) == {0.0, 1.0}
    torch.testing.assert_close(samples[:, 0] * 32_768, starts * hop)
    torch.testing.assert_close(result.frames[:, :, 0], torch.stack((starts, starts + 1), dim=1))
    torch.testing.assert_close(result.logits, ((starts + 0.5) * 10)[:, None].expand(-1, 5))
    assert result.memory_length.tolist() == [2] * 8


def test_a_clip_shorter_than_the_crop_is_kept_whole() -> None:
    result, samples = augmented(replace(STILL, crop=0.64), batch([4_000, 16_000]))
    assert samples.shape == (2, 2 * 32 * 160)
    assert int((samples[0] > 0).sum()) == 4_000
    assert result.logits.shape == (2, 527)
