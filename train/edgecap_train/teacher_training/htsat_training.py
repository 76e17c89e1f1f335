"""Training of the teacher HTSAT-BART: recordings with human captions in, a checkpoint in the WavCaps layout out.

The loop is the student's (`edgecap_train.distill.trainer`), with all it has: resuming, several processes, averages,
curves.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional

from edgecap.errors import AudioError, TrainingError
from edgecap.types import Waveform
from edgecap_train.data.batches import Batch, StreamState
from edgecap_train.distill.augment import FULL_SCALE, AugmentedBatch, Draws
from edgecap_train.distill.distillation_loss import Parts
from edgecap_train.distill.recipe import Count, OptimizerRecipe, Share, TrainingRecipe, Weight, Whole, check_heads
from edgecap_train.evaluation.evaluated import first_window
from edgecap_train.evaluation.held_out import Reference
from edgecap_train.teachers.bart_pieces import FEWEST_PIECES, BartPieces, padded
from edgecap_train.teachers.htsat_bart import MOST_TOKENS, PAD, START, HtsatBart, HtsatBartConfig
from edgecap_train.teachers.htsat_frontend import CLIP_SAMPLES, SAMPLE_RATE

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TeacherShape:
    """Shape of an HTSAT-BART; the defaults are the published one's."""

    patch_width: Count = 96
    depths: tuple[Count, Count, Count, Count] = (2, 2, 6, 2)
    audio_heads: tuple[Count, Count, Count, Count] = (4, 8, 16, 32)
    d_model: Count = 768
    layers: Count = 6
    heads: Count = 12
    feed_forward: Count = 3_072

    def __post_init__(self) -> None:
        check_heads("d_model", self.d_model, self.heads)
        for stage, heads in enumerate(self.audio_heads):
            check_heads(f"the width of audio stage {stage + 1}", self.patch_width << stage, heads)

    def config(self, vocabulary_size: int) -> HtsatBartConfig:
        """The same with a vocabulary."""
        return HtsatBartConfig(
            patch_width=self.patch_width,
            depths=self.depths,
            audio_heads=self.audio_heads,
            d_model=self.d_model,
            layers=self.layers,
            heads=self.heads,
            feed_forward=self.feed_forward,
            vocabulary_size=vocabulary_size,
        )


@dataclass(frozen=True, kw_only=True)
class TeacherOptimizer(OptimizerRecipe):
    """A student's keys with a teacher's defaults, which hold for every key that a recipe leaves out."""

    steps: Count = 20_000
    batch: Count = 32
    encoder_rate: Weight = 5e-5
    decoder_rate: Weight = 5e-5
    warm_up: Whole = 2_000
    encoder_alone: Whole = 0
    weight_decay: Weight = 1e-6

    def __post_init__(self) -> None:
        if self.audio_only or self.encoder_alone:
            raise ValueError("audio_only and encoder_alone are a student's keys; leave them out")


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe:
    """One training run of an HTSAT-BART."""

    name: str = "htsat-bart"
    seed: Whole = 1
    shape: TeacherShape = field(default_factory=TeacherShape)
    pieces: Annotated[int, Meta(ge=FEWEST_PIECES)] = 10_000
    """Byte pairs learnt from the captions, where BART's own are not given; each byte is one already."""
    label_smoothing: Share = 0.1
    gain: Weight = 6.0
    """Largest change of level, in decibels either way."""
    freeze_audio: bool = False
    """Whether HTSAT keeps its weights."""
    optimizer: TeacherOptimizer = field(default_factory=TeacherOptimizer)
    evaluate_every: Count = 1_000
    save_every: Count = 500
    record_every: Count = 50

    def loop(self) -> TrainingRecipe:
        """What the training loop needs of it."""
        return TrainingRecipe(
            name=self.name,
            seed=self.seed,
            optimizer=self.optimizer,
            evaluate_every=self.evaluate_every,
            save_every=self.save_every,
            record_every=self.record_every,
        )


class RecordingStream:
    """Batches of recordings, decoded as they are needed; one that cannot be read is left out and named once."""

    def __init__(
        self,
        references: Sequence[Reference],
        pieces: BartPieces,
        seed: int,
        size: int,
        *,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """`size` recordings a batch over all processes; `part` is (this process, all of them)."""
        self.references, self.pieces, self.seed, self.size, self.part = references, pieces, seed, size, part
        self.unreadable: dict[Path, str] = {}
        """Recordings that were left out, and why."""
        if size % part[1]:
            raise TrainingError(f"a batch of {size} clips cannot be shared evenly by {part[1]} processes")

    def batches(self, start: StreamState | None = None) -> Iterator[Batch]:
        """See `edgecap_train.data.batches.Stream`."""
        number, place = (start["pass"], start["place"]) if start else (0, 0)
        while True:
            order = np.random.default_rng((self.seed, number)).permutation(len(self.references))
            good: list[tuple[Reference, Waveform]] = []
            for at in range(place, len(order)):
                reference = self.references[order[at]]
                samples = self._read(reference)
                if samples is not None:
                    good.append((reference, samples))
                if len(good) == self.size:
                    yield self._batch(good, {"pass": number, "place": at + 1})
                    good = []
            readable = len(self.references) - len(self.unreadable)
            if readable < self.size:
                raise TrainingError(f"{readable} recordings can be read, fewer than a batch of {self.size}")
            number, place = number + 1, 0

    def _read(self, reference: Reference) -> Waveform | None:
        if reference.file in self.unreadable:
            return None
        try:
            return first_window(reference.file, SAMPLE_RATE)
        except AudioError as error:
            self.unreadable[reference.file] = str(error)
            log.warning("left out, %d so far: %s", len(self.unreadable), error)
            return None

    def _batch(self, every: list[tuple[Reference, Waveform]], state: StreamState) -> Batch:
        index, count = self.part
        mine = range(index * len(every) // count, (index + 1) * len(every) // count)
        clips = [every[row] for row in mine]
        samples = np.zeros((len(clips), CLIP_SAMPLES), np.int16)
        for row, (_, heard) in enumerate(clips):
            samples[row, : heard.size] = np.clip(heard * FULL_SCALE, -32_768, 32_767)
        told = [[ids for text in clip.captions if (ids := self.pieces.ids(text, MOST_TOKENS))] for clip, _ in clips]
        empty = torch.zeros(len(clips), 0)
        return Batch(
            torch.from_numpy(samples),
            torch.tensor([heard.size for _, heard in clips]),
            empty,
            empty,
            told,
            [[] for _ in clips],
            tuple(mine),
            tuple(str(clip.file.name) for clip, _ in clips),
            state,
        )


class TeacherNetwork(nn.Module):
    """An HTSAT-BART as the training loop sees it: an encoder, HTSAT, and a decoder, all the rest."""

    def __init__(self, model: HtsatBart) -> None:
        super().__init__()
        self.encoder, self.decoder = model.audio, nn.ModuleList([model.projection, model.bart])
        self._model = [model]  # not a module of this one, whose parts it shares: also in a deep copy

    @property
    def model(self) -> HtsatBart:
        """The teacher over these very weights."""
        return self._model[0]


class TeacherObjective(nn.Module):
    """Cross-entropy on one human caption of each recording."""

    def __init__(self, network: TeacherNetwork, smoothing: float, *, bf16: bool) -> None:
        super().__init__()
        self.network, self.smoothing, self.bf16 = network, smoothing, bf16

    def forward(self, heard: AugmentedBatch, draws: Draws, encoder_alone: bool) -> Parts:
        """The sum over tokens, and their number. `encoder_alone` has no meaning here."""
        model = self.network.model
        order = draws.uniform()
        chosen = [clip[int(order[row] * len(clip))] if clip else [START] for row, clip in enumerate(heard.human)]
        targets = torch.tensor(padded(chosen, PAD), device=heard.sound.device)
        inputs = torch.cat([torch.full_like(targets[:, :1], START), targets[:, :-1]], dim=1)
        told = targets != PAD
        told[[not clip for clip in heard.human]] = False
        with torch.autocast(heard.sound.device.type, torch.bfloat16, enabled=self.bf16):
            logits = model.logits(model.memory(model.frames_of(heard.sound)), inputs)
        losses = functional.cross_entropy(
            logits.flatten(0, 1).float(), targets.flatten(), reduction="none", label_smoothing=self.smoothing
        ).view(targets.shape)
        return {"supervised": ((losses * told).sum(), told.sum().float())}


class TeacherHearing:
    """Samples to HTSAT's log-mel, batched on the device."""

    def __init__(self, model: HtsatBart, gain: float) -> None:
        self.model, self.gain = model, gain

    @torch.no_grad()
    def __call__(self, batch: Batch, draws: Draws) -> AugmentedBatch:
        """See `edgecap_train.distill.trainer.Listen`."""
        device = self.model.log_mel.window.device
        samples = batch.samples.to(device, non_blocking=True).float() / FULL_SCALE
        level = (10 ** ((2 * draws.uniform() - 1) * self.gain / 20)).astype(np.float32)
        log_mel = self.model.log_mel(samples * torch.from_numpy(level).to(device)[:, None])
        ones: Tensor = torch.ones(len(samples), device=device)
        return AugmentedBatch(log_mel, ones, batch.frames, batch.logits, ones, batch.human, batch.pseudo)
