"""A small whole training run, in this process or as a child: `python training_run.py SHARDS RUN [KEY=VALUE…]`.

The student hears with a convolution of a few hundred weights, so that a run takes a second.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgecap_train.checkpoints.checkpoint import save_student
from edgecap_train.data.batches import BesideStream, ShardStream
from edgecap_train.distill.recipe import TrainingRecipe, read_document
from edgecap_train.distill.trainer import Trainer, accelerator, teaching_heads
from edgecap_train.models.student import Student, StudentConfig
from edgecap_train.models.yamnet import FRONT_END
from edgecap_train.text.captions import SPECIALS, Tokenizer

VOCABULARY = (*SPECIALS, "a", "low", "high", "tone", "followed", "by", "and")
CLIPS = 32
BASE = """
name = "small"
evaluate_every = 12
save_every = 4
record_every = 1
[loss]
captions_per_clip = 2
tags = 0.02
clip = 0.5
[optimizer]
steps = 24
batch = 4
encoder_rate = 1e-3
decoder_rate = 1e-2
warm_up = 4
encoder_alone = 2
average = 0.8
bf16 = false
[augment]
chance = 0.5
time_width = 20
gain = 3.0
"""


class SmallEncoder(nn.Module):
    """One convolution over 32 frames: (B, 64, T) → (B, T // 32, 12)."""

    dim = 12

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(64, self.dim, 32, stride=32)

    def forward(self, log_mel: Tensor) -> Tensor:
        return torch.tanh(self.conv(log_mel)).transpose(1, 2)


def write_shards(folder: Path, *, seconds: float = 1.0, human: bool = True) -> Path:
    """Two shards of tones, low and high ones, each captioned as what it is; every other clip by people, too."""
    for number in range(2):
        shard = folder / f"{number:04d}"
        shard.mkdir(parents=True)
        rng, count = np.random.default_rng(number), CLIPS // 2
        time = np.arange(int(seconds * 16_000)) / 16_000
        pitches = rng.permutation([300.0] * (count // 2) + [3_000.0] * (count // 2))
        audio = np.stack([np.sin(2 * np.pi * pitch * time) * 8_000 for pitch in pitches]).astype(np.int16)
        np.save(shard / "audio.npy", audio)
        np.save(shard / "frames.npy", rng.standard_normal((count, 32, 384)).astype(np.float16))
        np.save(shard / "logits.npy", np.full((count, 527), -6.0, np.float16))
        np.save(shard / "lengths.npy", np.full(count, audio.shape[1]))
        names = ["low" if pitch < 1_000 else "high" for pitch in pitches]
        (shard / "texts.json").write_text(json.dumps([[["a", name, "tone"], ["tone"]] for name in names]))
        told = [[["a", "tone"], [name]] if row % 2 else [] for row, name in enumerate(names)]
        if human:
            (shard / "human.json").write_text(json.dumps(told))
    return folder


def recipe(folder: Path, *overrides: str) -> TrainingRecipe:
    """The small recipe with overrides."""
    (folder / "recipe.toml").write_text(BASE)
    return read_document(folder / "recipe.toml", TrainingRecipe, overrides)


def small_trainer(
    made: TrainingRecipe, shards: Path, run: Path, *, dropout: float = 0.1, beside: Path | None = None
) -> Trainer[Student]:
    """A run over `shards` with audio-only clips `beside`; the score of an evaluation is the step it comes at."""
    torch.manual_seed(0)
    config = StudentConfig(
        encoder="yamnet",
        front_end=FRONT_END,
        vocabulary_size=len(VOCABULARY),
        d_model=16,
        heads=2,
        layers=1,
        feed_forward=16,
        dropout=dropout,
    )
    student = Student(config, SmallEncoder())
    heads = teaching_heads(student, made)
    mine = accelerator()
    part = (mine.process_index, mine.num_processes)
    words = Tokenizer(VOCABULARY)
    stream: ShardStream | BesideStream = ShardStream(shards, words, 20, made.seed, made.optimizer.batch, part=part)
    if beside is not None:
        others = ShardStream(beside, words, 20, made.seed, made.optimizer.audio_only, part=part, audio_only=True)
        stream = BesideStream(stream, others, made.optimizer.batch)
    holder: list[Trainer[Student]] = []

    def save(best: Student, scores: dict[str, float]) -> None:
        save_student(run / "student.safetensors", best, VOCABULARY, {"cider_d": str(scores["cider_d"])})

    holder.append(Trainer(made, student, heads, stream, run, lambda _: {"cider_d": float(holder[0].step)}, save))
    return holder[0]


if __name__ == "__main__":
    from edgecap.errors import EdgecapError

    torch.set_num_threads(1)
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    flags = [text for text in sys.argv[3:] if "=" in text]
    try:
        small_trainer(recipe(out.parent, *flags), data, out, dropout=0.0 if "plain" in sys.argv else 0.1).run()
    except EdgecapError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(error.exit_code)
