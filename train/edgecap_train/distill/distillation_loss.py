"""The distillation loss of a student: the losses of a recipe over one batch, each as a sum and a count.

Sums and counts, so that several processes can add theirs up before they divide: the loss of a token then weighs the
same wherever it is computed.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgecap_train.distill.augment import AugmentedBatch, Draws
from edgecap_train.distill.losses import TeachingHeads, caption_losses, frame_losses, tag_losses
from edgecap_train.distill.recipe import LossRecipe
from edgecap_train.distill.reward import CaptionReward
from edgecap_train.distill.self_critical import advantages, sample_captions, teacher_forcing
from edgecap_train.models.student import Student
from edgecap_train.text.tokenizer import PAD, START, padded
from edgecap_train.training.objective import Objective, Parts, Rows
from edgecap_train.training.precision import mixed_precision

MOST_CAPTIONS = 64
"""Captions of one kind that a clip may have."""


class DistillationLoss(Objective):
    """A student, its heads and its losses, as one module that can be wrapped for several processes."""

    def __init__(
        self,
        student: Student,
        heads: TeachingHeads,
        recipe: LossRecipe,
        *,
        bf16: bool,
        reward: CaptionReward | None = None,
    ) -> None:
        """`reward`: needed where the recipe gives it a weight."""
        super().__init__()
        self.student, self.heads, self.recipe, self.bf16, self.reward = student, heads, recipe, bf16, reward

    def apart(self, batch: AugmentedBatch, draws: Draws, encoder_alone: bool) -> tuple[Parts, Rows]:
        """The losses of a batch, and what L_enc compares. `encoder_alone`: the decoder's does not reach the encoder."""
        recipe = self.recipe
        draws = draws.again()  # gradients across micro-batches call this twice for each, and must see the same captions
        with self._autocast(batch.sound):
            memory = self.student.encode(batch.sound)
        memory = memory.float()
        length = batch.memory_length.clamp(max=memory.shape[1])
        parts: Parts = {}
        rows: Rows = ()
        clips = batch.original.sum()
        embedding = self.student.clip_embedding(memory, length)
        if recipe.tags:
            losses = tag_losses(self.heads.tags(embedding), batch.logits) * batch.original
            parts["tags"] = recipe.tags * losses.sum(), clips
        if recipe.frames:
            shared = min(memory.shape[1], batch.frames.shape[1])
            target = self.heads.standardise(batch.frames[:, :shared])
            ours = self.heads.frames(memory)[:, :shared]
            error, mask = frame_losses(ours, target, length.clamp(max=shared))
            parts["frames"] = (
                recipe.frames * (error * batch.original[:, None]).sum(),
                (mask * batch.original[:, None]).sum(),
            )
        if recipe.clip and self.heads.clip is not None:
            # the mean over the clip's own frames, standardised: what the heads were measured for
            frames = self.heads.standardise(batch.frames)
            shared = min(memory.shape[1], frames.shape[1])
            theirs = self.student.clip_embedding(frames[:, :shared], length.clamp(max=shared))
            rows = embedding, theirs, batch.original
        if recipe.caption:
            parts |= self._captions(batch, memory.detach() if encoder_alone else memory, length, draws)
        if recipe.reward and self.reward is not None:
            parts |= self._rewarded(self.reward, batch, memory.detach() if encoder_alone else memory, length, draws)
        return parts, rows

    def together(self, *rows: Tensor) -> Parts:
        """L_enc on clip embeddings: the student's (B, dim), the teacher's (B, width), and which of them count (B,)."""
        if not rows or self.heads.clip is None:
            return {}
        ours, theirs, original = rows
        return {"clip": (self.recipe.clip * self.heads.clip.losses(ours, theirs, original).sum(), original.sum())}

    def _captions(self, batch: AugmentedBatch, memory: Tensor, length: Tensor, draws: Draws) -> Parts:
        """L_sup and L_seq, in one pass through the decoder; each clip's memory is computed once for all captions."""
        rows: list[int] = []
        chosen: list[list[int]] = []
        human: list[bool] = []
        for kind, weight in ((batch.human, self.recipe.supervised), (batch.pseudo, self.recipe.sequence)):
            order = draws.uniform(MOST_CAPTIONS)
            for row, captions in enumerate(kind if weight else ()):
                best = kind is batch.pseudo
                for index in _picked(len(captions), self.recipe.captions_per_clip, order[row], best=best):
                    rows.append(row)
                    chosen.append(captions[index])
                    human.append(kind is batch.human)
        device = memory.device
        if not chosen:  # another process may have some and waits for this one's gradients
            rows, chosen, human = [0], [[PAD]], [True]
        inputs = torch.tensor(padded([[START, *ids[:-1]] for ids in chosen], PAD), device=device)
        targets = torch.tensor(padded(chosen, PAD), device=device)
        which, by_people = torch.tensor(rows, device=device), torch.tensor(human, device=device)[:, None]
        with self._autocast(memory):
            logits = self.student.decoder(inputs, memory[which], length[which])
        losses = caption_losses(logits, targets, self.recipe.label_smoothing)
        counted = targets != PAD
        parts: Parts = {}
        for name, weight, rows_of_kind in (
            ("supervised", self.recipe.supervised, by_people),
            ("sequence", self.recipe.sequence, ~by_people),
        ):
            if weight:
                parts[name] = (
                    self.recipe.caption * weight * (losses * rows_of_kind).sum(),
                    (counted & rows_of_kind).sum().float(),
                )
        return parts

    def _rewarded(
        self, reward: CaptionReward, batch: AugmentedBatch, memory: Tensor, length: Tensor, draws: Draws
    ) -> Parts:
        """Captions that the decoder draws, each made likelier or less so by its reward; and the rewards themselves."""
        count, decoder = self.recipe.samples, self.student.decoder
        drawn = torch.from_numpy(draws.uniform(count, self.student.config.max_tokens)).to(memory)
        sampled = sample_captions(decoder, memory.detach(), length, drawn)
        rewards = reward.rewards(sampled, batch).to(memory)
        counts = batch.original[:, None].expand_as(rewards)
        inputs, targets = teacher_forcing(sampled, memory.device)
        which = torch.arange(len(memory), device=memory.device).repeat_interleave(count)
        with self._autocast(memory):
            logits = decoder(inputs, memory[which], length[which])
        losses = caption_losses(logits, targets, 0.0).sum(1).view_as(rewards)
        tokens = (targets != PAD).sum(1).view_as(rewards)
        return {
            "self_critical": (
                self.recipe.reward * (advantages(rewards) * losses * counts).sum(),
                (tokens * counts).sum(),
            ),
            "reward": ((rewards * counts).sum(), counts.sum()),  # to be read; without a gradient
        }

    def _autocast(self, like: Tensor) -> torch.autocast:
        return mixed_precision(like.device.type, bf16=self.bf16)


def _picked(count: int, most: int, order: NDArray[np.float64], *, best: bool) -> list[int]:
    """At most `most` of `count` captions, drawn by `order`; the first, the teacher's best, always where `best`."""
    first = [0] if best and count else []
    others = np.argsort(order[: count - len(first)])[: most - len(first)] + len(first)
    return [*first, *others.tolist()]
