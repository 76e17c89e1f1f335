"""Losses of distillation: L = L_sup + L_seq + L_enc (Xu et al. 2024), and two that need a tagger.

Each takes tensors and gives the loss of every clip, frame or token; the recipe has their weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecap_train.data.shards import CLASSES, EMBEDDING
from edgecap_train.distill.recipe import LossRecipe
from edgecap_train.models.decoder import length_mask
from edgecap_train.models.encoder import Classifier
from edgecap_train.models.student import Student
from edgecap_train.text.tokenizer import PAD
from edgecap_train.training.distributed import gather_rows, process_index


def caption_losses(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """L_sup and L_seq: cross-entropy of `logits` (B, N, V) with `targets` (B, N) at each token; 0 for padding."""
    return functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=PAD, label_smoothing=smoothing, reduction="none"
    ).view(targets.shape)


def tag_losses(logits: Tensor, teacher: Tensor) -> Tensor:
    """Binary cross-entropy of tag `logits` (B, classes) with the teacher's scores, less the teacher's entropy: (B,).

    The entropy is subtracted so that 0 means "as the teacher"; summed over classes.
    """
    scores = torch.sigmoid(teacher)
    per_class = functional.binary_cross_entropy_with_logits(logits.float(), scores, reduction="none")
    entropy = functional.binary_cross_entropy_with_logits(teacher, scores, reduction="none")
    return (per_class - entropy).sum(1)


def frame_losses(frames: Tensor, teacher: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error between projected memory and teacher frames, both (B, S, D), at each frame, and which count.

    Both are (B, S); the frames of a clip after its `length` (B,) count 0 and have no error.
    """
    mask = length_mask(length, frames.shape[1]).float()
    return (frames.float() - teacher).square().mean(2) * mask, mask


class ClipLoss(nn.Module):
    """L_enc of the paper: both clip embeddings projected to a shared space of 1,024 and compared there.

    "mse": squared error between the projections. "contrastive": symmetric InfoNCE over the batch, its similarities
    times a learnt scale that starts at ln(1 / 0.07) = 2.66: exponentiated as in CLIP, or taken as it is, as the paper's
    published code does.
    """

    def __init__(self, student: int, teacher: int, kind: str, exponentiate: bool, shared: int = 1024) -> None:
        super().__init__()
        self.student, self.teacher = nn.Linear(student, shared), nn.Linear(teacher, shared)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.kind, self.exponentiate = kind, exponentiate

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """`student` (B, student), `teacher` (B, teacher) → the mean loss of the clips."""
        return self.losses(student, teacher, torch.ones(len(student), device=student.device)).mean()

    def losses(self, student: Tensor, teacher: Tensor, counts: Tensor) -> Tensor:
        """Loss of each clip, (B,); a clip whose `counts` (B,) is 0 has none and is left out of the comparisons.

        With several processes, clips are compared with those of all of them.
        """
        ours, theirs = self.student(student.float()), self.teacher(teacher)
        if self.kind == "mse":
            return cast(Tensor, (ours - theirs).square().mean(1) * counts)
        scale = self.logit_scale.exp() if self.exponentiate else self.logit_scale
        ours, theirs = functional.normalize(ours, dim=1), functional.normalize(theirs, dim=1)
        all_ours, all_theirs, all_counts = gather_rows(ours), gather_rows(theirs), gather_rows(counts)
        left_out = torch.where(all_counts > 0, 0.0, -1e4)[None, :]
        which = process_index() * len(ours) + torch.arange(len(ours), device=ours.device)
        there = functional.cross_entropy(scale * ours @ all_theirs.T + left_out, which, reduction="none")
        back = functional.cross_entropy(scale * theirs @ all_ours.T + left_out, which, reduction="none")
        return (there + back) / 2 * counts


class TeachingHeads(nn.Module):
    """What only training needs on top of a student: its tags, its frames in the tagger's space, and L_enc."""

    def __init__(self, width: int, classes: int, embedding: int, clip: ClipLoss | None) -> None:
        super().__init__()
        self.tags, self.frames, self.clip = nn.Linear(width, classes), nn.Linear(width, embedding), clip
        self.register_buffer("mean", torch.zeros(embedding))
        self.register_buffer("deviation", torch.ones(embedding))

    def standardise(self, frames: Tensor) -> Tensor:
        """Teacher frames (…, embedding) to zero mean and unit deviation, as measured by `measure`."""
        return (frames - cast(Tensor, self.mean)) / cast(Tensor, self.deviation)

    def measure(self, frames: Tensor) -> None:
        """Take the mean and deviation from teacher frames (N, embedding)."""
        cast(Tensor, self.mean).copy_(frames.mean(0))
        cast(Tensor, self.deviation).copy_(frames.std(0).clamp(min=1e-3))

    def start_at_prior(self, logits: Tensor) -> None:
        """Begin at the teacher's mean scores, from its `logits` (N, classes): every class is rare."""
        with torch.no_grad():
            self.tags.bias.copy_(torch.logit(torch.sigmoid(logits).mean(0), eps=1e-4))
            self.tags.weight.mul_(0.1)

    def start_tags(self, classifier: Classifier, names: Sequence[str]) -> None:
        """Begin the tag head at another classifier wherever it has a class of one of `names`, by the head's rows."""
        rows = {name: row for row, name in enumerate(classifier.names)}
        with torch.no_grad():
            for index, name in enumerate(names):
                if name in rows:
                    self.tags.weight[index].copy_(classifier.weight[rows[name]])
                    self.tags.bias[index].copy_(classifier.bias[rows[name]])


def teaching_heads(student: Student, recipe: LossRecipe, width: int = EMBEDDING) -> TeachingHeads:
    """Fresh heads for a student; `width` of the teacher's frames."""
    clip = ClipLoss(student.dim, width, recipe.clip_kind, recipe.exponentiate_scale) if recipe.clip else None
    return TeachingHeads(student.dim, CLASSES, width, clip)
