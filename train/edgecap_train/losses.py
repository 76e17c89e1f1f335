"""Losses of distillation: L = L_sup + L_seq + L_enc (Xu et al. 2024), and two that need a tagger.

Each takes tensors and gives a scalar; which of them count, and how much, is the recipe's business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecap_train.captions import PAD
from edgecap_train.decoder import length_mask


def caption_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """L_sup and L_seq: cross-entropy of `logits` (B, N, V) with `targets` (B, N), padding left out."""
    return functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=PAD, label_smoothing=smoothing
    )


def tag_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Binary cross-entropy of tag `logits` (B, classes) with the teacher's scores, less the teacher's own entropy.

    The entropy is taken off so that 0 means "as the teacher"; summed over classes, averaged over clips.
    """
    scores = torch.sigmoid(teacher)
    per_class = functional.binary_cross_entropy_with_logits(logits.float(), scores, reduction="none")
    entropy = functional.binary_cross_entropy_with_logits(teacher, scores, reduction="none")
    return (per_class - entropy).sum(1).mean()


def frame_loss(frames: Tensor, teacher: Tensor, length: Tensor) -> Tensor:
    """Squared error between projected memory and teacher frames, both (B, S, D), over each clip's `length` (B,)."""
    mask = length_mask(length, frames.shape[1]).float()
    error = (frames.float() - teacher).square().mean(2)
    return (error * mask).sum() / mask.sum()


class ClipLoss(nn.Module):
    """L_enc of the paper: both clip embeddings projected to a shared space of 1,024 and compared there."""

    def __init__(self, student: int, teacher: int, kind: str, exponentiate: bool, shared: int = 1024) -> None:
        super().__init__()
        self.student, self.teacher = nn.Linear(student, shared), nn.Linear(teacher, shared)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.kind, self.exponentiate = kind, exponentiate

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """`student` (B, student), `teacher` (B, teacher) → symmetric InfoNCE over the batch, or squared error."""
        ours, theirs = self.student(student.float()), self.teacher(teacher)
        if self.kind == "mse":
            return functional.mse_loss(ours, theirs)
        scale = self.logit_scale.exp() if self.exponentiate else self.logit_scale
        similarity = scale * functional.normalize(ours, dim=1) @ functional.normalize(theirs, dim=1).T
        which = torch.arange(len(similarity), device=similarity.device)
        return (functional.cross_entropy(similarity, which) + functional.cross_entropy(similarity.T, which)) / 2


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

    def start_tags(self, weight: Tensor, bias: Tensor, rows: Sequence[int | None]) -> None:
        """Begin the tag head at another classifier's rows (classes there, width); None leaves a class as it is."""
        with torch.no_grad():
            for index, row in enumerate(rows):
                if row is not None:
                    self.tags.weight[index].copy_(weight[row])
                    self.tags.bias[index].copy_(bias[row])
