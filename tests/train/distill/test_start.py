"""Where a run's weights start: a trained encoder without its frame head gets one that already fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from edgecap_train.checkpoints.checkpoint import save_student
from edgecap_train.data.shards import Shard, read_shard
from edgecap_train.distill.augment import FULL_SCALE
from edgecap_train.distill.losses import teaching_heads
from edgecap_train.distill.start import Start, fit_frame_head, initialise
from edgecap_train.models.frontend import LogMelLayer
from edgecap_train.models.student import Student
from support.training_run import VOCABULARY, recipe, small_student, write_shards

FRAMES = 6
"""Memory frames of these clips of two seconds."""


def shard_of(folder: Path, student: Student) -> tuple[Shard, torch.Tensor]:
    """Tones and noise whose teacher's frames are a linear function of what the student hears; and its memory."""
    shard = read_shard(write_shards(folder, seconds=2.0, shards=1) / "0000")
    noise = np.random.default_rng(7).normal(0.0, 3_000.0, shard.audio.shape).astype(np.int16)
    shard = replace(shard, audio=(np.asarray(shard.audio, np.int16) // 4 + noise).astype(np.int16))
    samples = torch.from_numpy(shard.audio.astype(np.float32)) / FULL_SCALE
    log_mel = LogMelLayer(student.config.front_end)(samples, torch.from_numpy(shard.lengths.astype(np.int64)))
    with torch.no_grad():
        memory = student.eval().encode(log_mel)
    weights = torch.randn(memory.shape[2], shard.frames.shape[2], generator=torch.Generator().manual_seed(1))
    frames = np.zeros(shard.frames.shape, np.float32)
    frames[:, : memory.shape[1]] = (memory @ weights + 3.0).numpy()
    return replace(shard, frames=frames.astype(np.float16)), memory


def test_a_frame_head_is_fitted_to_what_the_encoder_hears_already(tmp_path: Path) -> None:
    student = small_student()
    heads = teaching_heads(student, recipe(tmp_path).loss)
    shard, memory = shard_of(tmp_path, student)
    wanted = torch.from_numpy(shard.frames[:, :FRAMES])
    heads.measure(wanted.flatten(0, 1))
    before = (heads.frames(memory[:, :FRAMES]) - heads.standardise(wanted)).square().mean()
    fit_frame_head(student, heads, shard)
    after = (heads.frames(memory[:, :FRAMES]) - heads.standardise(wanted)).square().mean()
    assert before > 0.5
    assert after < 0.05
    assert student.training


def test_only_a_students_file_without_heads_gets_a_fitted_one(tmp_path: Path) -> None:
    earlier = small_student()
    save_student(tmp_path / "earlier.safetensors", earlier, VOCABULARY, {})
    shard, _ = shard_of(tmp_path, earlier)
    fitted = []
    for weight in (1, 0):
        student, made = small_student(), recipe(tmp_path, f"loss.frames={weight}", "loss.tags=0")
        made = replace(made, model=replace(made.model, clip_level=None))
        heads = teaching_heads(student, made.loss)
        fresh = heads.frames.weight.detach().clone()
        start = Start(runs=(tmp_path / "earlier.safetensors",))
        initialise(student, heads, made, start, shard, tagger=None, vocabulary=VOCABULARY)
        fitted.append(not torch.equal(fresh, heads.frames.weight))
    assert fitted == [True, False]
