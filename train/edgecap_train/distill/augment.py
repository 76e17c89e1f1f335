"""From a batch of samples to what the encoder takes, all of it batched on the device: mixing, noise, log-mel, masks.

Every random number comes from the seed, the step and the clip's place in the batch of all processes (`Draws`), so a run
that is resumed after a kill, or on another number of processes, draws the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgecap.audio.frontend import FrontEnd
from edgecap.errors import TrainingDataError
from edgecap_train.data.batches import Batch, Captions
from edgecap_train.distill.recipe import AugmentRecipe
from edgecap_train.models.encoder import FRAMES_PER_MEMORY
from edgecap_train.models.frontend import LogMelLayer
from edgecap_train.text.tokenizer import END, Tokenizer

FULL_SCALE = 32_768.0
JOINERS = {"concatenate": ("followed", "by"), "mix": ("and",)}
Retag = Callable[[Tensor], Tensor]
"""From the mean of a teacher's frames (B, width) to its logits (B, classes)."""
NOISE_RANGE = 20.0
"""Decibels from the loudest noise to the quietest."""


class Draws:
    """The random numbers of one step: uniform in [0, 1), the same for a clip whichever process has it."""

    def __init__(self, seed: int, step: int, size: int, rows: Sequence[int]) -> None:
        """`size`: clips of all processes in this step; `rows`: the places of this process's clips among them."""
        self._rng = np.random.default_rng((seed, step))
        self._size, self._rows = size, np.asarray(rows)

    def again(self) -> Draws:
        """What gives the numbers that this would give next, and leaves it as it is."""
        return copy.deepcopy(self)

    def uniform(self, *shape: int) -> NDArray[np.float64]:
        """(clips of this process, *shape)."""
        drawn: NDArray[np.float64] = self._rng.random((self._size, *shape))[self._rows]
        return drawn


@dataclass(frozen=True)
class AugmentedBatch:
    """A batch as the student takes it, on the device."""

    sound: Tensor
    """What the encoder takes: log-mel (B, n_mels, T)."""
    memory_length: Tensor
    """(B,) memory frames that are not padding."""
    frames: Tensor
    """(B, 32, width) float32."""
    logits: Tensor
    """(B, classes) float32."""
    original: Tensor
    """(B,) 1 where the teacher's targets are of this very clip, 0 for clips joined here."""
    human: list[Captions]
    pseudo: list[Captions]
    references: list[Captions]
    """What people wrote about clips that sound alike; of no use where `original` is 0."""


class Augment(nn.Module):
    """Samples to `AugmentedBatch`."""

    def __init__(
        self,
        front_end: FrontEnd,
        augment: AugmentRecipe,
        tokenizer: Tokenizer,
        max_tokens: int,
        retag: Retag | None = None,
    ) -> None:
        """`retag` gives the teacher's tags of a crop; without it a crop has the tags of its clip.

        Raises TrainingDataError where clips are to be joined and the vocabulary lacks the words for it.
        """
        super().__init__()
        self.augment, self.max_tokens, self.retag = augment, max_tokens, retag
        self.log_mel = LogMelLayer(front_end)
        self._joiners = {kind: [tokenizer.ids.get(word) for word in words] for kind, words in JOINERS.items()}
        for kind, chance in (("concatenate", augment.concatenate), ("mix", augment.mix)):
            if chance and None in self._joiners[kind]:
                raise TrainingDataError(
                    f"augment.{kind} needs the words {' '.join(JOINERS[kind])!r}, which the vocabulary "
                    "lacks; set it to 0"
                )

    @torch.no_grad()
    def forward(self, batch: Batch, draws: Draws, memory_length: Callable[[Tensor], Tensor]) -> AugmentedBatch:
        """Gain, mixing, noise, log-mel and SpecAugment. `memory_length`: the student's, frames (B,) → (B,)."""
        device = self.log_mel.window.device
        samples = batch.samples.to(device, non_blocking=True).float() / FULL_SCALE
        lengths = batch.lengths.to(device)
        level = (2 * draws.uniform() - 1) * self.augment.gain
        samples *= _column(10 ** (level / 20), samples)
        original = torch.ones(len(samples), device=device)
        frames = batch.frames.to(device, non_blocking=True).float()
        logits = batch.logits.to(device, non_blocking=True).float()
        if self.augment.crop:
            samples, lengths, frames, logits = self._cropped(samples, lengths, frames, logits, draws)
        human, pseudo = batch.human, batch.pseudo
        if self.augment.concatenate or self.augment.mix:
            samples, lengths, original, human, pseudo = self._joined(samples, lengths, human, pseudo, draws)
        if self.augment.noise:
            samples = self._noisy(samples, draws)
        log_mel = spec_augment(self.log_mel(samples, lengths), self.augment, draws, self.log_mel.front_end)
        return AugmentedBatch(
            log_mel,
            memory_length(self.log_mel.frames(lengths)),
            frames,
            logits,
            original,
            human,
            pseudo,
            batch.references,
        )

    def _cropped(
        self, samples: Tensor, lengths: Tensor, frames: Tensor, logits: Tensor, draws: Draws
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A stretch of each clip, aligned to memory frames, with the teacher's frames and tags of it."""
        hop = self.log_mel.front_end.hop_length * FRAMES_PER_MEMORY
        size = max(1, round(self.augment.crop * self.log_mel.front_end.sample_rate / hop))
        room = (torch.div(lengths, hop, rounding_mode="floor") - size).clamp(min=0)
        first = (torch.from_numpy(draws.uniform()).to(room.device) * (room + 1)).long()
        place = (first * hop)[:, None] + torch.arange(size * hop, device=samples.device)
        inside = place < samples.shape[1]
        samples = samples.gather(1, place.clamp(max=samples.shape[1] - 1)) * inside
        which = (first[:, None] + torch.arange(size, device=frames.device)).clamp(max=frames.shape[1] - 1)
        frames = frames.gather(1, which[:, :, None].expand(-1, -1, frames.shape[2]))
        lengths = (lengths - first * hop).clamp(max=size * hop)
        if self.retag is not None:
            count = torch.div(lengths, hop, rounding_mode="floor").clamp(min=1)
            mask = (torch.arange(size, device=frames.device)[None, :] < count[:, None]).float()[:, :, None]
            logits = self.retag((frames * mask).sum(1) / mask.sum(1))
        return samples, lengths, frames, logits

    def _joined(
        self, samples: Tensor, lengths: Tensor, human: list[Captions], pseudo: list[Captions], draws: Draws
    ) -> tuple[Tensor, Tensor, Tensor, list[Captions], list[Captions]]:
        """Some neighbouring pairs of clips become two clips of both: one after the other, or at the same time."""
        device, room = samples.device, samples.shape[1]
        chance, loudness = draws.uniform(), draws.uniform()
        sizes = lengths.tolist()
        kinds: list[str | None] = [None] * len(samples)
        for left in range(0, len(samples) - 1, 2):
            for kind, share in (("concatenate", self.augment.concatenate), ("mix", self.augment.mix)):
                fits = kind == "mix" or sizes[left] + sizes[left + 1] <= room
                drawn = chance[left] < share if kind == "concatenate" else chance[left + 1] < share
                if fits and drawn and self._can_join(kind, human, pseudo, left):
                    kinds[left] = kinds[left + 1] = kind
                    break
        partner = torch.arange(len(samples), device=device) ^ 1
        partner = partner.clamp(max=len(samples) - 1)
        after = torch.tensor([kind == "concatenate" for kind in kinds], device=device)
        both = torch.tensor([kind == "mix" for kind in kinds], device=device)
        place = torch.arange(room, device=device)[None, :]
        other = samples[partner]
        moved = other.gather(1, (place - lengths[:, None]).clamp(min=0))
        quieter = _column(10 ** (-6.0 * loudness / 20), samples)
        samples = torch.where(after[:, None] & (place >= lengths[:, None]), moved, samples)
        samples = torch.where(both[:, None], samples + quieter * other, samples)
        lengths = torch.where(after, lengths + lengths[partner], lengths)
        lengths = torch.where(both, torch.maximum(lengths, lengths[partner]), lengths)
        human, pseudo = (
            [self._captions(kind, captions, row) if kind else captions[row] for row, kind in enumerate(kinds)]
            for captions in (human, pseudo)
        )
        return samples, lengths, (~(after | both)).float(), human, pseudo

    def _can_join(self, kind: str, human: list[Captions], pseudo: list[Captions], left: int) -> bool:
        """Whether both clips of a pair have captions that can be joined, each way."""
        return all(self._captions(kind, human, row) or self._captions(kind, pseudo, row) for row in (left, left + 1))

    def _captions(self, kind: str, captions: list[Captions], row: int) -> Captions:
        """The captions of a clip joined with its neighbour's, as far as they are short enough."""
        words = [cast(int, word) for word in self._joiners[kind]]
        pairs = zip(captions[row], captions[row ^ 1], strict=False)
        joined = [[*first[:-1], *words, *second[:-1], END] for first, second in pairs]
        return [ids for ids in joined if len(ids) <= self.max_tokens]

    def _noisy(self, samples: Tensor, draws: Draws) -> Tensor:
        """White noise below some clips."""
        below = self.augment.noise_level - NOISE_RANGE * draws.uniform()
        on = (draws.uniform() < self.augment.noise) * 10 ** (below / 20)
        noise = torch.empty_like(samples)
        for clip, drawn in zip(noise, draws.uniform(), strict=True):
            clip.normal_(generator=torch.Generator(samples.device).manual_seed(int(drawn * 2**62)))
        level = samples.square().mean(1, keepdim=True).sqrt()
        return samples + noise * level * _column(on, samples)


def spec_augment(log_mel: Tensor, recipe: AugmentRecipe, draws: Draws, front_end: FrontEnd) -> Tensor:
    """Time and band masks (Park et al. 2019) of silence on some clips of `log_mel` (B, n_mels, T)."""
    on = draws.uniform() < recipe.chance
    for axis, count, widest in ((2, recipe.time_masks, recipe.time_width), (1, recipe.band_masks, recipe.band_width)):
        size = log_mel.shape[axis]
        place = torch.arange(size, device=log_mel.device)[None, None, :]
        width = np.floor(draws.uniform(count) * (min(widest, size) + 1)) * on[:, None]
        start = np.floor(draws.uniform(count) * np.maximum(1, size - width))
        first, last = (torch.from_numpy(edge).to(log_mel.device)[:, :, None] for edge in (start, start + width))
        masked = ((place >= first) & (place < last)).any(1)
        log_mel = log_mel.masked_fill(masked[:, None, :] if axis == 2 else masked[:, :, None], front_end.silence)
    return log_mel


def _column(values: NDArray[np.float64], like: Tensor) -> Tensor:
    """(B,) → (B, 1) float32 on the device of `like`."""
    return torch.from_numpy(values.astype(np.float32)).to(like.device)[:, None]
