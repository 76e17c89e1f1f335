"""Recipes: everything that decides how a student is trained, as TOML.

Knows the document only. A key that is unknown or of another type is refused with its place.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from edgecap.bundle.manifest import unknown_key
from edgecap.errors import RecipeError
from edgecap_train.models.student import EncoderName

Count = Annotated[int, Meta(ge=1)]
Whole = Annotated[int, Meta(ge=0)]
Weight = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """Shape of the student."""

    encoder: EncoderName = "yamnet"
    d_model: Count = 192
    heads: Count = 4
    layers: Count = 2
    feed_forward: Count = 640
    dropout: Share = 0.2
    frozen_blocks: Whole = 0
    """First blocks of YAMNet that keep their weights: they cost half of the backward pass and hear only edges."""
    encoder_rests: bool = False
    """Whether the decoder learns alone, from memories of all scenes that are computed once, beside the run. Then
    `augment` is what is done before they are, and losses other than the captions' must be 0."""
    memory_variants: Count = 2
    """Memories of each scene for that: the first without augmentation, the others with it."""
    drop_connect: Share = 0.2
    """Chance that training skips EfficientNet's last block; it grows linearly from 0 over the blocks."""
    encoder_share: Share = 1.0
    """Share of the trained encoder where a run starts both from a run and from YAMNet; the rest is YAMNet's own.
    A mixture of the weights before and after fine-tuning hears better what the training sounds lack
    (Wortsman et al. 2022, arXiv 2109.01903)."""

    def __post_init__(self) -> None:
        if self.d_model % 2:
            raise ValueError(f"d_model must be even (sines and cosines tell positions), not {self.d_model}")
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
    tags: Weight = 1.0
    """Cross-entropy with the tagger's 527 scores."""
    frames: Weight = 1.0
    """L_enc, frame by frame: squared error to the tagger's standardised frame embeddings."""
    clip: Weight = 0.0
    """L_enc of the paper, on clip embeddings."""
    clip_kind: Literal["contrastive", "mse"] = "contrastive"
    exponentiate_scale: bool = True
    """Whether the contrastive scale is exp(logit_scale); the published code takes it as it is (ln(1/0.07) = 2.66)."""
    captions_per_clip: Count = 4
    """Captions of each clip in a step; the memory is computed once for all of them."""

    def __post_init__(self) -> None:
        told = self.caption * (self.supervised + self.sequence)
        if not (told or self.tags or self.frames or self.clip):
            raise ValueError("every weight is 0, so that nothing would be learnt; set caption, tags, frames or clip")


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe:
    """Steps and learning rates."""

    steps: Count = 6_000
    batch: Count = 16
    """Clips of a step, of all processes together."""
    audio_only: Whole = 0
    """Clips without human captions that each step takes besides, from the folder that --audio-only names."""
    encoder_rate: Weight = 2e-4
    decoder_rate: Weight = 1e-3
    last_rate: Weight = 0.02
    """Learning rate at the end, as a share of the peak (cosine decay)."""
    warm_up: Whole = 300
    encoder_alone: Whole = 800
    """Steps in which the decoder's loss does not reach the encoder."""
    weight_decay: Weight = 0.01
    clip_norm: Positive = 1.0
    average: Share = 0.999
    """Decay of the weight average that is evaluated and saved."""
    bf16: bool = True


@dataclass(frozen=True, kw_only=True)
class AugmentRecipe:
    """What is done to clips before they are heard, batched on the device."""

    chance: Share = 0.6
    time_masks: Whole = 2
    time_width: Whole = 60
    """Widest time mask, in frames."""
    band_masks: Whole = 2
    band_width: Whole = 8
    crop: Weight = 0.0
    """Seconds to hear of each clip, somewhere in it, with the teacher's frames of that stretch; 0 for all of it. An
    encoder learns sooner from three stretches of three scenes than from one whole scene of the same cost, but a caption
    tells of a whole clip: for `loss.caption` of 0 alone."""
    gain: Weight = 6.0
    """Largest change of level, in decibels either way."""
    noise: Share = 0.0
    """Chance of white noise below a clip."""
    noise_level: float = -20.0
    """Loudest such noise, in decibels below the clip; the quietest is 20 dB below that."""
    concatenate: Share = 0.0
    """Chance that two clips of a batch, short enough for one window, become one after the other, "… followed by …"."""
    mix: Share = 0.0
    """Chance that two clips of a batch become one, "… and …"; the teacher's other targets are left out for both kinds,
    since it did not hear them."""


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """One training run."""

    name: str
    seed: Whole = 1
    model: ModelRecipe = field(default_factory=ModelRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    evaluate_every: Count = 500
    """Steps between evaluations on the development set."""
    save_every: Count = 200
    """Steps between checkpoints to go on from."""
    record_every: Count = 50
    """Steps that a line of metrics averages over."""


Document = TypeVar("Document")


def check_heads(name: str, width: int, heads: int) -> None:
    """Raise ValueError where attention's `heads` do not share a width evenly."""
    if width % heads:
        raise ValueError(f"{name} must be a multiple of heads, and {width} is none of {heads}")


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> TrainingRecipe:
    """A student's recipe from TOML. Raises RecipeError naming the key that is wrong."""
    return read_document(path, TrainingRecipe, overrides)


def read_document(path: Path, kind: type[Document], overrides: Sequence[str] = ()) -> Document:
    """A recipe of any kind (a frozen dataclass) from TOML, with overrides of the form "optimizer.steps=200".

    Raises RecipeError naming the key that is unknown, missing or of another type, or the override that is none.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"cannot read the recipe {path}: {error}") from error
    for text in overrides:
        _override(document, text)
    try:
        recipe = msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{path.name}: {error}") from error
    unknown = unknown_key(document, msgspec.to_builtins(recipe), path.name)
    if unknown:
        raise RecipeError(f"unknown key {unknown}; the keys are those of {kind.__module__}.{kind.__name__}")
    return recipe


def _override(document: dict[str, Any], text: str) -> None:
    """Set one key of `document`: the value is TOML, or a word without quotes."""
    key, equals, value = text.partition("=")
    *tables, name = key.strip().split(".")
    if not equals or not all((*tables, name)):
        raise RecipeError(f"{text!r} sets nothing; write KEY=VALUE, as in --set optimizer.steps=200")
    for table in tables:
        document = document.setdefault(table, {})
        if not isinstance(document, dict):
            raise RecipeError(f"{key.strip()}: {table} is a value, not a table of keys")
    try:
        document[name] = tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        document[name] = value.strip()
