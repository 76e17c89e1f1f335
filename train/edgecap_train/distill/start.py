"""Where a student's weights start: published ones, an earlier run, the mean of several, or a mixture of two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgecap.errors import CheckpointError
from edgecap_train.checkpoints.checkpoint import load_student
from edgecap_train.checkpoints.lite2 import measure_statistics
from edgecap_train.data.shards import Shard
from edgecap_train.distill.augment import FULL_SCALE
from edgecap_train.distill.losses import TeachingHeads
from edgecap_train.distill.recipe import TrainingRecipe
from edgecap_train.models.decoder import length_mask
from edgecap_train.models.encoder import Encoder, load_pretrained
from edgecap_train.models.frontend import LogMelLayer
from edgecap_train.models.student import Student
from edgecap_train.teachers.tagger import class_names
from edgecap_train.training.run_folder import RunFolder

STATISTICS_BATCHES, STATISTICS_BATCH = 8, 16
"""Scenes that BatchNorm's first statistics are taken from."""
FIT_BATCHES = 16
"""As many scenes that a fresh frame head is fitted to."""
RIDGE = 1e-2
"""Penalty of that fit, times the mean variance of the memory's dimensions."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where weights start; at random where nothing is named."""

    weights: Path | None = None
    """Published weights of the recipe's encoder: a file, or the folder of an unpacked package."""
    runs: tuple[Path, ...] = ()
    """Earlier runs, or students' files; of several the encoders are averaged, and the decoder is the first one's."""


def initialise(
    student: Student,
    heads: TeachingHeads,
    recipe: TrainingRecipe,
    start: Start,
    first: Shard,
    *,
    tagger: Path | None,
    vocabulary: tuple[str, ...],
) -> None:
    """Give a fresh student and its heads the weights that they start with; `first`: a shard to take statistics from.

    Raises CheckpointError.
    """
    if recipe.loss.tags:
        heads.start_at_prior(torch.from_numpy(first.logits[:1000].astype(np.float32)))
    if start.weights is not None:
        start_from_pretrained(student, heads, start.weights, first, tagger)
    untrained = {name: tensor.clone() for name, tensor in student.encoder.state_dict().items()}
    configure_encoder(student, recipe)
    heads.measure(torch.from_numpy(first.frames[:200].astype(np.float32)).flatten(0, 1))
    if start.runs:
        start_from_all(student, heads, start.runs, vocabulary)
        if start.weights is not None:
            mix_encoder(student, untrained, recipe.model.encoder_share)
        if recipe.loss.frames and start.runs[0].is_file():
            fit_frame_head(student, heads, first)  # of the encoder that learns on


def configure_encoder(student: Student, recipe: TrainingRecipe) -> None:
    """Apply the recipe's keys for the encoder, after its weights are loaded."""
    if isinstance(student.encoder, Encoder):
        student.encoder.configure(frozen_blocks=recipe.model.frozen_blocks, drop_connect=recipe.model.drop_connect)


def start_from_pretrained(
    student: Student, heads: TeachingHeads, weights: Path, shard: Shard, tagger: Path | None
) -> None:
    """Start the encoder from published weights, and the tag head at their classifier where they have one.

    BatchNorm's statistics come from some of `shard`'s scenes where the weights need that; `tagger` is the tagger's
    folder, without which the tag head starts at random. Raises CheckpointError where `weights` are not those of the
    recipe's encoder.
    """
    assert isinstance(student.encoder, Encoder)
    pretrained = load_pretrained(student.encoder, weights)
    if pretrained.classifier is not None and tagger is not None:
        heads.start_tags(pretrained.classifier, class_names(tagger))
    if pretrained.needs_statistics:
        front_end = LogMelLayer(student.config.front_end)
        measure_statistics(
            student.encoder, [log_mels for _, log_mels, _ in _first_scenes(front_end, shard, STATISTICS_BATCHES)]
        )


def _first_scenes(
    front_end: LogMelLayer, shard: Shard, batches: int
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Batches of a shard's scenes: their rows, log-mels (B, n_mels, T), and log-mel frames of each, (B,)."""
    for row in range(0, min(batches * STATISTICS_BATCH, len(shard.lengths)), STATISTICS_BATCH):
        rows = slice(row, row + STATISTICS_BATCH)
        samples = torch.from_numpy(shard.audio[rows].astype(np.float32)) / FULL_SCALE
        lengths = torch.from_numpy(shard.lengths[rows].astype(np.int64))
        yield rows, front_end(samples, lengths), front_end.frames(lengths)


@torch.no_grad()
def fit_frame_head(student: Student, heads: TeachingHeads, shard: Shard) -> None:
    """Fit a fresh frame head to what the encoder hears already, by ridge regression on the shard's first scenes.

    A random head would first pull a trained encoder away from what it knows (Kumar et al. 2022, arXiv 2202.10054).
    """
    student.eval()
    memories, targets = [], []
    for rows, log_mels, frames in _first_scenes(LogMelLayer(student.config.front_end), shard, FIT_BATCHES):
        memory = student.encode(log_mels)
        wanted = heads.standardise(torch.from_numpy(shard.frames[rows].astype(np.float32)))
        shared = min(memory.shape[1], wanted.shape[1])
        heard = length_mask(student.memory_length(frames).clamp(max=shared), shared)
        memories.append(memory[:, :shared][heard])
        targets.append(wanted[:, :shared][heard])
    inputs, target = torch.cat(memories), torch.cat(targets)
    mean, target_mean = inputs.mean(0), target.mean(0)
    inputs = inputs - mean
    covariance = inputs.T @ inputs / len(inputs)
    ridge = RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance))
    weight = torch.linalg.solve(covariance + ridge, inputs.T @ (target - target_mean) / len(inputs)).T
    heads.frames.weight.copy_(weight)
    heads.frames.bias.copy_(target_mean - weight @ mean)
    student.train()


def start_from(student: Student, heads: TeachingHeads, start: Path, vocabulary: tuple[str, ...]) -> None:
    """Start from a run's averaged weights, or from a student's file, whose vocabulary may have been another.

    A word that the earlier student did not know keeps its fresh embedding; a file brings no heads. Raises
    CheckpointError where there is none, or one of another shape.
    """
    earlier = load_student(start if start.is_file() else start / "student.safetensors")
    weights, head_weights = earlier.student.state_dict(), None
    if start.is_dir():
        state = RunFolder(start, writes=False).load()
        if state is None:
            raise CheckpointError(f"{start} holds no last.pt to start from; name the folder of a run")
        prefix = "module."
        average = {name.removeprefix(prefix): t for name, t in state["average"].items() if name.startswith(prefix)}
        weights = weights | average  # a run on cached features keeps its encoder in the student's file alone
        head_weights = state["heads"]
    words = {word: index for index, word in enumerate(earlier.vocabulary)}
    embedding = student.decoder.embedding.weight.detach().clone()
    try:
        for index, word in enumerate(vocabulary):
            if word in words:
                embedding[index] = weights["decoder.embedding.weight"][words[word]]
        student.load_state_dict(weights | {"decoder.embedding.weight": embedding})
        if head_weights is not None:
            heads.load_state_dict(head_weights)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{start} has another shape than the recipe: {error}") from error


def start_from_all(student: Student, heads: TeachingHeads, starts: Sequence[Path], vocabulary: tuple[str, ...]) -> None:
    """Start from the first of several; the encoder is the mean of all of theirs (Wortsman et al. 2022, 2203.05482).

    Raises CheckpointError.
    """
    encoders = []
    for start in reversed(starts):
        start_from(student, heads, start, vocabulary)
        encoders.append({name: tensor.clone() for name, tensor in student.encoder.state_dict().items()})
    mean = {
        name: torch.stack([weights[name] for weights in encoders]).mean(0) if tensor.is_floating_point() else tensor
        for name, tensor in encoders[-1].items()
    }
    student.encoder.load_state_dict(mean)


def mix_encoder(student: Student, untrained: dict[str, torch.Tensor], share: float) -> None:
    """Make the encoder `share` of itself and the rest of the `untrained` weights it started from."""
    state = student.encoder.state_dict()
    mixed = {name: untrained[name].lerp(tensor, share) for name, tensor in state.items() if tensor.is_floating_point()}
    student.encoder.load_state_dict(state | mixed)
