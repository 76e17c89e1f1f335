"""A student's recipe: its shape, its losses, its optimizer and the augmentation of its clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from edgecap.util.limits.bounded import Heads, Layers, Width
from edgecap_train.models.encoder import check_encoder
from edgecap_train.training.recipe import (
    BatchSize,
    OptimizerRecipe,
    RunRecipe,
    Share,
    Weight,
    Whole,
    check_heads,
    read_document,
)


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """Shape of the student."""

    encoder: str = "yamnet"
    d_model: Width = 192
    heads: Heads = 4
    layers: Layers = 2
    feed_forward: Width = 640
    dropout: Share = 0.2
    frozen_blocks: Whole = 0
    """First blocks that keep their weights: they cost half of the backward pass and detect only edges."""
    freeze_encoder: bool = False
    """Whether the decoder learns alone, from features of all scenes that the encoder computes once, beside the run.
    `augment` is applied before they are computed, and losses other than the captions' must be 0."""
    feature_variants: Annotated[int, Meta(ge=1, le=1000)] = 2
    """Cached features of each scene for that: the first without augmentation, the others with it."""
    drop_connect: Share = 0.2
    """Chance that training skips EfficientNet's last block; it grows linearly from 0 over the blocks."""
    clip_level: Annotated[float, Meta(ge=-100, le=100)] | None = None
    """Decibels to which the front end brings the mean mel power of each clip (`FrontEnd.clip_level`), so that captions
    do not depend on a microphone's gain; None leaves clips as loud as they are."""
    encoder_share: Share = 1.0
    """Share of the trained encoder where a run starts both from a run and from pretrained weights; the rest is the
    pretrained ones. A mixture of the weights before and after fine-tuning is more robust to sounds that the training
    data lack (Wortsman et al. 2022, arXiv 2109.01903)."""

    def __post_init__(self) -> None:
        check_encoder(self.encoder)
        if self.d_model % 2:
            raise ValueError(f"d_model must be even (sines and cosines encode positions), not {self.d_model}")
        check_heads("d_model", self.d_model, self.heads)


@dataclass(frozen=True, kw_only=True)
class LossRecipe:
    """Weights of the losses; a weight of 0 leaves one out."""

    caption: Weight = 1.0
    """Weight of both caption losses together."""
    supervised: Weight = 1.0
    """L_sup: cross-entropy on human captions, where the shards tell them apart."""
    sequence: Weight = 1.0
    """L_seq: cross-entropy on the teacher's captions."""
    label_smoothing: Share = 0.1
    reward: Weight = 0.0
    """Self-critical training (Rennie et al. 2017, arXiv 1612.00563): how much the decoder learns from the rewards of
    captions that it draws itself. A reward is the CIDEr-D with what people wrote about similar clips
    (`edgecap train recaption --references`), else with the clip's own captions, less the penalties below."""
    samples: Annotated[int, Meta(ge=2, le=64)] = 5
    """Captions drawn of each clip; each is compared with the mean of the others."""
    false_claim: Weight = 2.0
    """Taken from a reward for each kind of sound that a caption names and the tagger's scores do not support, in
    CIDEr-D (0 to 10); needs --tagger."""
    malformed: Weight = 2.0
    """Taken from a reward where a caption does not end, ends in mid-phrase, repeats itself or has an unknown word."""
    tags: Weight = 1.0
    """Cross-entropy with the tagger's 527 scores."""
    frames: Weight = 1.0
    """L_enc, frame by frame: squared error to the tagger's standardised frame embeddings."""
    clip: Weight = 0.0
    """L_enc of the paper, on clip embeddings."""
    clip_kind: Literal["contrastive", "mse"] = "contrastive"
    exponentiate_scale: bool = True
    """Whether the contrastive scale is exp(logit_scale); the published code takes it as it is (ln(1/0.07) = 2.66)."""
    captions_per_clip: BatchSize = 4
    """Captions of each clip in a step; the memory is computed once for all of them."""

    def __post_init__(self) -> None:
        captions = self.caption * (self.supervised + self.sequence)
        if not (captions or self.reward or self.tags or self.frames or self.clip):
            raise ValueError(
                "every weight is 0, so that nothing would be learnt; set caption, reward, tags, frames or clip"
            )


@dataclass(frozen=True, kw_only=True)
class AugmentRecipe:
    """What is done to clips before the front end, batched on the device."""

    chance: Share = 0.6
    time_masks: Whole = 2
    time_width: Whole = 60
    """Widest time mask, in frames."""
    band_masks: Whole = 2
    band_width: Whole = 8
    crop: Weight = 0.0
    """Seconds to use of each clip, at a random place, with the teacher's frames of that stretch; 0 for all of it. An
    encoder learns faster from stretches of three scenes than from one whole scene of the same cost, but a caption
    describes the whole clip, so `loss.caption` must be 0."""
    gain: Weight = 6.0
    """Largest change of level, in decibels either way."""
    noise: Share = 0.0
    """Chance of white noise below a clip."""
    noise_level: float = -20.0
    """Loudest such noise, in decibels below the clip; the quietest is 20 dB below that."""
    concatenate: Share = 0.0
    """Chance that two clips of a batch, short enough for one window, become one after the other, "… followed by …".
    They are neighbours: an even number of clips in each process and micro-batch leaves the pairs as they are."""
    mix: Share = 0.0
    """Chance that two clips of a batch become one, "… and …"; the teacher's other targets are left out for both kinds,
    since they are of single clips."""


@dataclass(frozen=True, kw_only=True)
class StudentOptimizer(OptimizerRecipe):
    """Steps and learning rates of a student."""

    audio_only: Whole = 0
    """Clips without human captions that each step takes besides, from the folder that --audio-only names."""
    encoder_alone: Whole = 800
    """Steps in which the decoder's loss does not reach the encoder."""

    @property
    def clips(self) -> int:
        """Clips of a step, labelled and audio-only."""
        return self.batch + self.audio_only


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe(RunRecipe):
    """One training run of a student."""

    keep: Literal["best", "last"] = "best"
    """Which averaged weights are written: those with the best CIDEr-D on the development set, or the last ones, so that
    no recording has chosen them. Without a caption loss always the last."""
    model: ModelRecipe = field(default_factory=ModelRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optimizer: StudentOptimizer = field(default_factory=StudentOptimizer)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> TrainingRecipe:
    """A student's recipe from TOML. Raises RecipeError naming the key that is wrong."""
    return read_document(path, TrainingRecipe, overrides)
