"""A small complete training run, in this process or as a child: `python training_run.py SHARDS RUN [KEY=VALUE…]`.

The student's encoder is one convolution, so that a run takes a second.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgecap.bundle.vocabulary import SPECIALS
from edgecap_train.data.batches import Batch, BesideStream, ShardStream, Stream
from edgecap_train.data.training_data import TrainingData
from edgecap_train.distill.augment import AugmentedBatch, Draws
from edgecap_train.distill.losses import teaching_heads
from edgecap_train.distill.recipe import TrainingRecipe, read_recipe
from edgecap_train.distill.task import StudentTask, augmenting, best_student
from edgecap_train.models.encoder import ENCODERS, Classifier, Encoder, Pretrained
from edgecap_train.models.student import Student, StudentConfig
from edgecap_train.models.yamnet import FRONT_END
from edgecap_train.text.tokenizer import Tokenizer
from edgecap_train.training.distributed import process_part
from edgecap_train.training.trainer import Trainer

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


class SmallEncoder(Encoder):
    """One convolution over 32 frames: (B, 64, T) → (B, T // 32, 12)."""

    dim = 12
    front_end = FRONT_END
    pretrained = f"{__name__}:start_small"

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(64, self.dim, 32, stride=32)

    def forward(self, log_mel: Tensor) -> Tensor:
        return torch.tanh(self.conv(log_mel)).transpose(1, 2)


def start_small(encoder: SmallEncoder, path: Path) -> Pretrained:
    """Fill the small encoder with the number in a file; its classifier knows one class of the tagger's."""
    with torch.no_grad():
        encoder.conv.weight.fill_(float(path.read_text()))
    return Pretrained(Classifier(torch.full((1, 12), 2.0), torch.full((1,), 3.0), ("class 1",)))


ENCODERS["small"] = f"{__name__}:SmallEncoder"


def write_shards(folder: Path, *, seconds: float = 1.0, human: bool = True, shards: int = 2) -> Path:
    """Shards of tones, low and high ones, each captioned as what it is; every other clip by people, too."""
    for number in range(shards):
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
        people = [[["a", "tone"], [name]] if row % 2 else [] for row, name in enumerate(names)]
        if human:
            (shard / "human.json").write_text(json.dumps(people))
    return folder


def recipe(folder: Path, *overrides: str) -> TrainingRecipe:
    """The small recipe with overrides."""
    (folder / "recipe.toml").write_text(BASE)
    return read_recipe(folder / "recipe.toml", overrides)


SmallTrainer = Trainer[Batch, Student]


class SmallTask(StudentTask):
    """A task whose score is the number of steps learnt."""

    steps, evaluations = 0, 0

    def __init__(self, made: TrainingRecipe, student: Student, stream: Stream[Batch], run: Path) -> None:
        save = best_student(run / "student.safetensors", VOCABULARY, made.name)
        prepare = augmenting(student, made, Tokenizer(VOCABULARY))
        super().__init__(made, student, teaching_heads(student, made.loss), stream, self._count, save, prepare=prepare)

    def inputs(self, batch: Batch, step: int) -> tuple[AugmentedBatch, Draws, bool]:
        self.steps = step + 1
        return super().inputs(batch, step)

    def _count(self, student: Student) -> dict[str, float]:
        assert not student.training
        self.evaluations += 1
        return {"cider_d": float(self.steps)}


def small_student(dropout: float = 0.1) -> Student:
    """A student with the small encoder, its weights always the same."""
    torch.manual_seed(0)
    config = StudentConfig(
        encoder="small",
        front_end=FRONT_END,
        vocabulary_size=len(VOCABULARY),
        d_model=16,
        heads=2,
        layers=1,
        feed_forward=16,
        dropout=dropout,
    )
    return Student(config)


def small_task(
    made: TrainingRecipe, shards: Path | str, run: Path, *, dropout: float = 0.1, beside: Path | None = None
) -> SmallTask:
    """What a run over `shards`, or those packed at an address, learns, with audio-only clips `beside`."""
    words, part = Tokenizer(VOCABULARY), process_part()
    labelled: Stream[Batch]
    if isinstance(shards, str):
        labelled = TrainingData(shards).stream(words, 20, made.seed, made.optimizer.batch, part=part)
    else:
        labelled = ShardStream(shards, words, 20, made.seed, made.optimizer.batch, part=part)
    if beside is None:
        return SmallTask(made, small_student(dropout), labelled, run)
    others = ShardStream(beside, words, 20, made.seed, made.optimizer.audio_only, part=part, audio_only=True)
    return SmallTask(made, small_student(dropout), BesideStream(labelled, others), run)


def small_trainer(
    made: TrainingRecipe, shards: Path | str, run: Path, *, dropout: float = 0.1, beside: Path | None = None
) -> SmallTrainer:
    """A run of a `small_task`."""
    return Trainer(small_task(made, shards, run, dropout=dropout, beside=beside), made, run)


if __name__ == "__main__":
    from edgecap.errors import EdgecapError

    torch.set_num_threads(1)
    data, out = sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    flags = [text for text in sys.argv[3:] if "=" in text]
    try:
        small_trainer(recipe(out.parent, *flags), data, out, dropout=0.0 if "plain" in sys.argv else 0.1).run()
    except EdgecapError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(error.exit_code)
