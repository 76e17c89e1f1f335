"""A decoder that learns from memories computed once, while the encoder rests.

An encoder is nineteen twentieths of a training step. Where it learns no more, its memory of each scene is computed
once, as it is and under augmentation, and kept in shards beside the run; the decoder then hears some hundred scenes a
second where it heard ten.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgecap.util.files import save_array
from edgecap_train.data.batches import Batch, Captions, shard_folders
from edgecap_train.data.shards import read_shard
from edgecap_train.distill.augment import Augment, AugmentedBatch, Draws
from edgecap_train.distill.recipe import AugmentRecipe, TrainingRecipe
from edgecap_train.distill.trainer import accelerator
from edgecap_train.models.student import Student
from edgecap_train.text.captions import Tokenizer

log = logging.getLogger(__name__)
SOUND = "memory"
"""Name of the array that stands for the sound in shards of memories: (N, S, dim) float16."""
HEARD_AT_ONCE = 16


class CachedFeatures(nn.Module):
    """In place of an encoder that rests: memory in, memory out."""

    def __init__(self, dim: int) -> None:
        """`dim`: width of the memory."""
        super().__init__()
        self.dim = dim

    def forward(self, memory: Tensor) -> Tensor:
        """(B, S, dim) → the same."""
        return memory


@contextmanager
def awake(student: Student, encoder: nn.Module) -> Iterator[Student]:
    """The student with its own encoder in place of `CachedFeatures`, to be judged or saved."""
    resting = student.encoder
    student.encoder = encoder.to(next(student.decoder.parameters()).device)
    try:
        yield student
    finally:
        student.encoder = resting


def remembered(batch: Batch, draws: Draws) -> AugmentedBatch:
    """A batch of memories as what the student takes; every scene was heard atomic_file, all drawing was done then."""
    device = accelerator().device
    samples, lengths, frames, logits = (
        tensor.to(device, non_blocking=True) for tensor in (batch.samples, batch.lengths, batch.frames, batch.logits)
    )
    return AugmentedBatch(
        samples.float(),
        lengths,
        frames.float(),
        logits.float(),
        torch.ones(len(lengths), device=device),
        batch.human,
        batch.pseudo,
    )


@torch.inference_mode()
def write_memories(student: Student, recipe: TrainingRecipe, data: Path, out: Path, words: Tokenizer) -> Path:
    """Compute the memories of all shards of `data` into shards in `out`, and return it; complete ones are kept.

    `model.memory_variants` shards for each: the first of the scenes as they are, the others with the gain, noise and
    masks of `recipe.augment`. A shard of memories has `lengths.npy` in memory frames, a copy of the captions, and
    neither tags nor frames. Its encoder is the `student`'s: another one needs another folder.
    """
    device = accelerator().device
    student.eval().to(device)
    plain = AugmentRecipe(chance=0.0, gain=0.0)
    roughened = replace(recipe.augment, mix=0.0, concatenate=0.0, crop=0.0)  # the captions stay as they are
    for number, folder in enumerate(shard_folders(data / "shards")):
        for variant in range(recipe.model.memory_variants):
            target = out / f"{folder.name}-{variant}"
            if not target.is_dir():
                limit = student.config.max_tokens
                hearing = Augment(student.config.front_end, roughened if variant else plain, words, limit)
                hearing.to(device)
                _write(student, hearing, folder, target, recipe, (number, variant))
                log.info("memories of %s, variant %d", folder.name, variant)
    return out


def _write(  # noqa: PLR0917
    student: Student, hearing: Augment, folder: Path, target: Path, recipe: TrainingRecipe, place: tuple[int, int]
) -> None:
    shard, (number, variant) = read_shard(folder), place
    device = hearing.log_mel.window.device
    count = len(shard.lengths)
    memories: list[NDArray[np.float16]] = []
    lengths: list[int] = []
    for first in range(0, count, HEARD_AT_ONCE):
        rows = range(first, min(first + HEARD_AT_ONCE, count))
        nothing: list[Captions] = [[] for _ in rows]
        batch = Batch(
            torch.from_numpy(np.array(shard.audio[first : rows.stop])),
            torch.from_numpy(np.array(shard.lengths[first : rows.stop])),
            torch.zeros(len(rows), 0, 0),
            torch.zeros(len(rows), 0),
            nothing,
            nothing,
            tuple(range(len(rows))),
            (),
            {},
        )
        draws = Draws(recipe.seed + variant, number * 1_000_000 + first, len(rows), batch.rows)
        heard = cast(AugmentedBatch, hearing(batch, draws, student.memory_length))
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.optimizer.bf16):
            memory = student.encode(heard.sound)
        memories.append(memory.half().cpu().numpy())
        lengths += heard.memory_length.clamp(max=memory.shape[1]).tolist()
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed in it
    partial.mkdir(parents=True)
    arrays: dict[str, NDArray[np.generic]] = {
        SOUND: np.concatenate(memories),
        "lengths": np.array(lengths, np.int64),
        **dict.fromkeys(("frames", "logits"), np.zeros((count, 0), np.float16)),
    }
    for name, array in arrays.items():
        save_array(partial / f"{name}.npy", array)
    for captions in ("texts.json", "human.json"):
        if (folder / captions).is_file():
            shutil.copyfile(folder / captions, partial / captions)
    partial.rename(target)
