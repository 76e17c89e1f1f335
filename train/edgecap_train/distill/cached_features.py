"""Training of the decoder alone, on features that the frozen encoder computes once.

The encoder takes 95 % of a training step. Where it is frozen, its memory of each scene is computed
once, without and with augmentation, and kept in shards beside the run; the decoder then learns from some hundred scenes
a second instead of ten.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgecap_train.data.batches import Batch, Captions
from edgecap_train.data.shards import read_shard, shard_folders, write_shard
from edgecap_train.distill.augment import Augment, AugmentedBatch, Draws
from edgecap_train.distill.recipe import AugmentRecipe, TrainingRecipe
from edgecap_train.models.student import Student
from edgecap_train.text.tokenizer import Tokenizer
from edgecap_train.training.distributed import accelerator
from edgecap_train.training.precision import mixed_precision

log = logging.getLogger(__name__)
SOUND = "memory"
"""Name of the array that replaces the sound in shards of cached features: (N, S, dim) float16."""
ENCODED_AT_ONCE = 16


class CachedFeatures(nn.Module):
    """Takes the place of a frozen encoder: memory in, memory out."""

    def __init__(self, dim: int) -> None:
        """`dim`: width of the memory."""
        super().__init__()
        self.dim = dim

    def forward(self, memory: Tensor) -> Tensor:
        """(B, S, dim) → the same."""
        return memory


@contextmanager
def with_encoder(student: Student, encoder: nn.Module) -> Iterator[Student]:
    """The student with this encoder in place of its own, to be evaluated or saved."""
    cached = student.encoder
    student.encoder = encoder.to(next(student.decoder.parameters()).device)
    try:
        yield student
    finally:
        student.encoder = cached


def cached_batch(batch: Batch, draws: Draws) -> AugmentedBatch:
    """A batch of cached features as the student takes it; augmentation was applied before they were computed."""
    device = accelerator().device
    samples, lengths, frames, logits = (
        tensor.to(device, non_blocking=True) for tensor in (batch.samples, batch.lengths, batch.frames, batch.logits)
    )
    original = torch.ones(len(lengths), device=device)
    captions = batch.human, batch.pseudo, batch.references
    return AugmentedBatch(samples.float(), lengths, frames.float(), logits.float(), original, *captions)


@torch.inference_mode()
def write_features(  # noqa: PLR0917
    student: Student,
    recipe: TrainingRecipe,
    data: Path,
    out: Path,
    tokenizer: Tokenizer,
    part: tuple[int, int] = (0, 1),
) -> Path:
    """Compute the features of the shards of `data` into shards in `out`, and return it; complete ones are kept.

    `part`: (this process, all of them), each of which computes those of its own shards.

    `model.feature_variants` shards for each: the first of the scenes as they are, the others with the gain, noise and
    masks of `recipe.augment`. A shard of features has `lengths.npy` in memory frames, copies of the captions and of the
    tags, and no frames. They are of the `student`'s encoder: another one needs another folder.
    """
    device = accelerator().device
    student.eval().to(device)
    plain = AugmentRecipe(chance=0.0, gain=0.0)
    varied = replace(recipe.augment, mix=0.0, concatenate=0.0, crop=0.0)  # the captions stay as they are
    process, processes = part
    for number, folder in enumerate(shard_folders(data / "shards")):
        if number % processes != process:
            continue
        for variant in range(recipe.model.feature_variants):
            target = out / f"{folder.name}-{variant}"
            if not target.is_dir():
                limit = student.config.max_tokens
                augment = Augment(student.config.front_end, varied if variant else plain, tokenizer, limit).to(device)
                _write(student, augment, folder, target, recipe, (number, variant))
                log.info("features of %s, variant %d", folder.name, variant)
    return out


def _write(  # noqa: PLR0917
    student: Student, augment: Augment, folder: Path, target: Path, recipe: TrainingRecipe, place: tuple[int, int]
) -> None:
    shard, (number, variant) = read_shard(folder), place
    device = augment.log_mel.window.device
    count = len(shard.lengths)
    memories: list[NDArray[np.float16]] = []
    lengths: list[int] = []
    for first in range(0, count, ENCODED_AT_ONCE):
        rows = range(first, min(first + ENCODED_AT_ONCE, count))
        no_captions: list[Captions] = [[] for _ in rows]
        batch = Batch(
            torch.from_numpy(np.array(shard.audio[first : rows.stop])),
            torch.from_numpy(np.array(shard.lengths[first : rows.stop])),
            torch.zeros(len(rows), 0, 0),
            torch.zeros(len(rows), 0),
            no_captions,
            no_captions,
            tuple(range(len(rows))),
            (),
            {},
            no_captions,
        )
        draws = Draws(recipe.seed + variant, number * 1_000_000 + first, len(rows), batch.rows)
        augmented = augment.forward(batch, draws, student.memory_length)
        with mixed_precision(device.type, bf16=recipe.optimizer.bf16):
            memory = student.encode(augmented.sound)
        memories.append(memory.half().cpu().numpy())
        lengths += augmented.memory_length.clamp(max=memory.shape[1]).tolist()
    arrays: dict[str, NDArray[np.generic]] = {
        SOUND: np.concatenate(memories),
        "lengths": np.array(lengths, np.int64),
        "logits": np.array(shard.logits),
        "frames": np.zeros((count, 0), np.float16),
    }
    more = {"human": shard.human, "references": shard.references}
    write_shard(target, arrays, {"texts": shard.texts} | {name: rows for name, rows in more.items() if rows})
