"""The first steps of small runs, for comparisons between processes, micro-batches and the batch at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from edgecap.errors import RecipeError
from edgecap_train.evaluation.held_out import Reference
from edgecap_train.models.encoder import ENCODERS
from edgecap_train.training.distributed import process_part
from edgecap_train.training.trainer import Trainer
from support.signals import noise
from support.training_run import SmallEncoder, recipe, small_trainer

FLAGS = ("optimizer.batch=8", "optimizer.encoder_alone=0", "augment.noise=0.5", "augment.mix=0.3")
STEPS = 3


@dataclass(frozen=True)
class Learnt:
    """Some steps of a run."""

    losses: list[dict[str, float]]
    gradients: list[dict[str, Tensor]]
    """Of each step, as the optimizer took them."""
    state: dict[str, Tensor]
    """Weights and statistics at the end."""


class NormalisedEncoder(SmallEncoder):
    """The small encoder with a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(64)

    def forward(self, log_mel: Tensor) -> Tensor:
        return super().forward(self.norm(log_mel))


def student_steps(folder: Path, shards: Path, *flags: str, normalised: bool = False) -> Learnt:
    """Three steps of a student in this process, one of all that train together."""
    folder = own_folder(folder)
    if normalised:
        ENCODERS["small"] = f"{__name__}:NormalisedEncoder"
    try:
        return steps(small_trainer(recipe(folder, *FLAGS, *flags), shards, folder / "run", dropout=0.0))
    finally:
        ENCODERS["small"] = f"{SmallEncoder.__module__}:SmallEncoder"


def own_folder(folder: Path) -> Path:
    """A folder of this process alone."""
    own = folder / str(process_part()[0])
    own.mkdir(exist_ok=True)
    return own


def teacher_steps(folder: Path, accumulate: int) -> Learnt:
    """The same of a small HTSAT-BART, which has a BatchNorm."""
    from edgecap_train.teacher_training.htsat_training import (
        RecordingStream,
        TeacherOptimizer,
        TeacherRecipe,
        TeacherShape,
        TeacherTask,
    )
    from edgecap_train.teachers.bart_tokenizer import learn_pieces
    from edgecap_train.teachers.htsat_bart import HtsatBart

    folder = own_folder(folder)
    captions = ("a low tone sounds", "a tone", "something hums and stops")
    references = []
    for row in range(4):
        soundfile.write(folder / f"{row}.wav", noise(10.0, seed=row), 16_000)
        references.append(Reference(folder / f"{row}.wav", "", captions[: 1 + row % 3]))
    pieces = learn_pieces(captions, folder / "words", 300)
    shape = TeacherShape(
        patch_width=16, depths=(1, 1, 1, 1), audio_heads=(1, 2, 4, 8), d_model=32, layers=1, heads=2, feed_forward=32
    )
    made = TeacherRecipe(
        pieces=300, shape=shape, optimizer=TeacherOptimizer(batch=4, accumulate=accumulate, warm_up=1, bf16=False)
    )
    torch.manual_seed(0)
    network = HtsatBart(shape.config(pieces.size))
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            setattr(module, "dropout", 0.0)  # noqa: B010 - mypy takes a module's attributes for tensors
    stream = RecordingStream(references, pieces, 1, 4, part=process_part())
    task = TeacherTask(made, network, stream, lambda _: {}, lambda *_: None)
    return steps(Trainer(task, made, folder / "run"))


def steps(trainer: Trainer[Any, Any]) -> Learnt:
    """Three steps of a run."""
    losses, gradients = [], []
    for batch in trainer.task.stream.batches():
        losses.append(trainer.learn(batch))
        trainer.step += 1
        named = trainer.task.objective.named_parameters()
        gradients.append({name: tensor.grad.clone() for name, tensor in named if tensor.grad is not None})
        if trainer.step == STEPS:
            break
    return Learnt(losses, gradients, {name: t.clone() for name, t in trainer.task.objective.state_dict().items()})


def norm(gradients: dict[str, Tensor]) -> float:
    """Euclidean norm of all together."""
    return float(np.sqrt(sum(float(gradient.square().sum()) for gradient in gradients.values())))


def small_run(folder: Path, shards: Path, *flags: str) -> None:
    """All steps of a student, into `folder`/run."""
    small_trainer(recipe(own_folder(folder), *FLAGS, *flags), shards, folder / "run").run()


def refused_run(folder: Path, shards: Path, *flags: str) -> None:
    """The same; then it raises."""
    small_run(folder, shards, *flags)
    raise RecipeError("the run is over")
