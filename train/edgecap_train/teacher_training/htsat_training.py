"""Training of the teacher HTSAT-BART: recordings with human captions in, a checkpoint in the WavCaps layout out.

The loop is `edgecap_train.training.trainer`, as for a student.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgecap.audio.file import decode
from edgecap.audio.samples import to_int16
from edgecap.errors import AudioError, TrainingDataError
from edgecap.types import Waveform
from edgecap.util.limits.bounded import Bands, Heads, Layers, Width
from edgecap_train.data.batches import Batch, Captions, StreamState, own_rows
from edgecap_train.distill.augment import FULL_SCALE, Draws
from edgecap_train.evaluation.evaluated import WINDOW_SECONDS
from edgecap_train.evaluation.held_out import Reference
from edgecap_train.teachers.bart_tokenizer import FEWEST_PIECES, BartPieces
from edgecap_train.teachers.htsat_bart import MOST_TOKENS, PAD, START, HtsatBart, HtsatBartConfig
from edgecap_train.teachers.htsat_frontend import CLIP_SAMPLES, SAMPLE_RATE
from edgecap_train.text.tokenizer import padded
from edgecap_train.training.objective import Objective, Parts, Rows
from edgecap_train.training.precision import mixed_precision
from edgecap_train.training.recipe import (
    BatchSize,
    Count,
    OptimizerRecipe,
    RunRecipe,
    Share,
    Weight,
    Whole,
    check_heads,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TeacherShape:
    """Shape of an HTSAT-BART; the defaults are the published one's."""

    patch_width: Bands = 96
    depths: tuple[Layers, Layers, Layers, Layers] = (2, 2, 6, 2)
    audio_heads: tuple[Heads, Heads, Heads, Heads] = (4, 8, 16, 32)
    d_model: Width = 768
    layers: Layers = 6
    heads: Heads = 12
    feed_forward: Width = 3_072

    def __post_init__(self) -> None:
        check_heads("d_model", self.d_model, self.heads)
        for stage, heads in enumerate(self.audio_heads):
            check_heads(f"the width of audio stage {stage + 1}", self.patch_width << stage, heads)

    def config(self, vocabulary_size: int) -> HtsatBartConfig:
        """The same with a vocabulary."""
        return HtsatBartConfig(**vars(self), vocabulary_size=vocabulary_size)


@dataclass(frozen=True, kw_only=True)
class TeacherOptimizer(OptimizerRecipe):
    """A teacher's defaults, which hold for every key that a recipe leaves out."""

    steps: Count = 20_000
    batch: BatchSize = 32
    encoder_rate: Weight = 5e-5
    decoder_rate: Weight = 5e-5
    warm_up: Whole = 2_000
    weight_decay: Weight = 1e-6


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe(RunRecipe):
    """One training run of an HTSAT-BART."""

    name: str = "htsat-bart"
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
        self.references, self.pieces, self.seed, self.size = references, pieces, seed, size
        self.rows = own_rows(size, part)
        self.unreadable: dict[Path, str] = {}
        """Recordings that were left out, and why."""

    def batches(self, start: StreamState | None = None) -> Iterator[Batch]:
        """Endless batches; raises TrainingDataError where too few recordings can be read."""
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
                raise TrainingDataError(f"{readable} recordings can be read, fewer than a batch of {self.size}")
            number, place = number + 1, 0

    def _read(self, reference: Reference) -> Waveform | None:
        if reference.file in self.unreadable:
            return None
        try:
            return decode(reference.file, SAMPLE_RATE, WINDOW_SECONDS)
        except AudioError as error:
            self.unreadable[reference.file] = str(error)
            log.warning("left out, %d so far: %s", len(self.unreadable), error)
            return None

    def _batch(self, every: list[tuple[Reference, Waveform]], state: StreamState) -> Batch:
        clips = [every[row] for row in self.rows]
        audio = np.zeros((len(clips), CLIP_SAMPLES), np.int16)
        for row, (_, samples) in enumerate(clips):
            audio[row, : samples.size] = to_int16(samples)
        captions = [[ids for text in clip.captions if (ids := self.pieces.ids(text, MOST_TOKENS))] for clip, _ in clips]
        empty = torch.zeros(len(clips), 0)
        return Batch(
            torch.from_numpy(audio),
            torch.tensor([samples.size for _, samples in clips]),
            empty,
            empty,
            captions,
            [[] for _ in clips],
            tuple(self.rows),
            tuple(str(clip.file.name) for clip, _ in clips),
            state,
        )


class TeacherLoss(Objective):
    """Cross-entropy on one human caption of each recording."""

    def __init__(self, teacher: HtsatBart, smoothing: float, *, bf16: bool) -> None:
        super().__init__()
        self.teacher, self.smoothing, self.bf16 = teacher, smoothing, bf16

    def apart(self, log_mel: Tensor, captions: list[Captions], order: NDArray[np.float64]) -> tuple[Parts, Rows]:
        """The sum over tokens, and their number; `order` (B,) in [0, 1) draws each recording's caption."""
        chosen = [clip[int(order[row] * len(clip))] if clip else [START] for row, clip in enumerate(captions)]
        targets = torch.tensor(padded(chosen, PAD), device=log_mel.device)
        inputs = torch.cat([torch.full_like(targets[:, :1], START), targets[:, :-1]], dim=1)
        counted = targets != PAD
        counted[[not clip for clip in captions]] = False
        with mixed_precision(log_mel.device.type, bf16=self.bf16):
            logits = self.teacher.logits(self.teacher.memory(self.teacher.frames_of(log_mel)), inputs)
        losses = functional.cross_entropy(
            logits.flatten(0, 1).float(), targets.flatten(), reduction="none", label_smoothing=self.smoothing
        ).view(targets.shape)
        return {"supervised": ((losses * counted).sum(), counted.sum().float())}, ()


class TeacherTask:
    """HTSAT-BART on captioned recordings; see `edgecap_train.training.trainer.Task`."""

    keeps_best = True

    def __init__(
        self,
        recipe: TeacherRecipe,
        teacher: HtsatBart,
        stream: RecordingStream,
        evaluate: Callable[[HtsatBart], dict[str, float]],
        save: Callable[[HtsatBart, dict[str, float]], None],
    ) -> None:
        """`teacher` on the device."""
        self.recipe, self.network, self.heads, self.stream = recipe, teacher, nn.Module(), stream
        self.objective: Objective = TeacherLoss(teacher, recipe.label_smoothing, bf16=recipe.optimizer.bf16)
        self.evaluate, self.save = evaluate, save

    def parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """HTSAT's as far as they are not frozen; the projection's and BART's."""
        audio = [parameter for parameter in self.network.audio.parameters() if parameter.requires_grad]
        return audio, [*self.network.projection.parameters(), *self.network.bart.parameters()]

    @torch.no_grad()
    def inputs(self, batch: Batch, step: int) -> tuple[Tensor, list[Captions], NDArray[np.float64]]:
        """Log-mel of the recordings at a random level, their captions, and the draw of one of them."""
        draws = Draws(self.recipe.seed, step, self.recipe.optimizer.clips, batch.rows)
        device = self.network.log_mel.window.device
        samples = batch.samples.to(device, non_blocking=True).float() / FULL_SCALE
        level = (10 ** ((2 * draws.uniform() - 1) * self.recipe.gain / 20)).astype(np.float32)
        log_mel = self.network.log_mel(samples * torch.from_numpy(level).to(device)[:, None])
        return log_mel, batch.human, draws.uniform()
