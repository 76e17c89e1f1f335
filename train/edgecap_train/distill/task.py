"""A student as the training loop's task: which parameters learn, and how a batch becomes the loss's arguments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from edgecap_train.checkpoints.checkpoint import save_student
from edgecap_train.data.batches import Batch, Stream
from edgecap_train.distill.augment import Augment, AugmentedBatch, Draws, Retag
from edgecap_train.distill.distillation_loss import DistillationLoss
from edgecap_train.distill.losses import TeachingHeads
from edgecap_train.distill.recipe import TrainingRecipe
from edgecap_train.distill.reward import CaptionReward
from edgecap_train.models.student import Student
from edgecap_train.text.tokenizer import Tokenizer
from edgecap_train.training.distributed import accelerator
from edgecap_train.training.objective import Objective

Prepare = Callable[[Batch, Draws], AugmentedBatch]
"""From a batch out of a stream to what the student takes."""


class StudentTask:
    """Distillation into a student; see `edgecap_train.training.trainer.Task`."""

    def __init__(  # noqa: PLR0917
        self,
        recipe: TrainingRecipe,
        student: Student,
        heads: TeachingHeads,
        stream: Stream[Batch],
        evaluate: Callable[[Student], dict[str, float]],
        save: Callable[[Student, dict[str, float]], None],
        *,
        prepare: Prepare,
        reward: CaptionReward | None = None,
    ) -> None:
        """`prepare`: `augmenting` where the stream holds samples, else what makes the sound of its arrays."""
        self.recipe, self.network, self.heads, self.stream = recipe, student, heads, stream
        bf16 = recipe.optimizer.bf16
        self.objective: Objective = DistillationLoss(student, heads, recipe.loss, bf16=bf16, reward=reward)
        self.evaluate, self.save, self.prepare = evaluate, save, prepare
        teaches_words = recipe.loss.caption > 0 or recipe.loss.reward > 0  # else every score is 0
        self.keeps_best = recipe.keep == "best" and teaches_words

    def parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The encoder's as far as they are not frozen; the decoder's and the heads'."""
        encoder = [parameter for parameter in self.network.encoder.parameters() if parameter.requires_grad]
        return encoder, [*self.network.decoder.parameters(), *self.heads.parameters()]

    def inputs(self, batch: Batch, step: int) -> tuple[AugmentedBatch, Draws, bool]:
        """The batch with this step's augmentation, its random numbers, and whether the encoder learns alone."""
        draws = Draws(self.recipe.seed, step, self.recipe.optimizer.clips, batch.rows)
        return self.prepare(batch, draws), draws, step < self.recipe.optimizer.encoder_alone


def augmenting(student: Student, recipe: TrainingRecipe, tokenizer: Tokenizer, retag: Retag | None = None) -> Prepare:
    """Batches of samples through `Augment` on the device; `retag` as there. Raises TrainingDataError."""
    config = student.config
    augment = Augment(config.front_end, recipe.augment, tokenizer, config.max_tokens, retag)
    augment.to(accelerator().device)
    return lambda batch, draws: augment.forward(batch, draws, student.memory_length)


def best_student(path: Path, vocabulary: tuple[str, ...], name: str) -> Callable[[Student, dict[str, float]], None]:
    """A `save` that writes the student to `path` with its scores and the recipe's `name`."""

    def save(student: Student, scores: dict[str, float]) -> None:
        metadata = {"recipe": name, **{metric: f"{value:.4f}" for metric, value in scores.items()}}
        save_student(path, student, vocabulary, metadata)

    return save
