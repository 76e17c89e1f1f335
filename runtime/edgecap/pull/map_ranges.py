"""How maps are made bytes where no sound is at hand: from a checkpoint's BatchNorms.

A BatchNorm's `bias` and `weight` are the mean and the standard deviation that each channel of its output had over the
training, so a checkpoint tells what its maps hold (Nagel et al. 2019, arXiv 1906.04721). docs/models.md says how near
that comes to ranges that were measured on recordings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
DEVIATIONS, MEAN_DEVIATIONS = 7.0, 2.0
"""Standard deviations from its mean that a channel's values, or their mean over a sound, are taken to reach."""
SHARE = 0.97
"""Share of the channels that a map's range covers; those with the widest would make the steps of all others coarse."""
LARGEST_SCALE = 1e38
LEAST_SWISH = -0.27846455
"""The least value of x / (1 + exp(-x))."""


@dataclass(frozen=True, kw_only=True)
class MapSource:
    """What a map of activations is made of."""

    norms: tuple[str, ...]
    """The BatchNorms whose outputs are added, "….": one, or more where blocks add their input."""
    swish: bool = False
    """Whether the swish of that sum is meant."""
    pooled: bool = False
    """Whether the mean of each channel is meant."""


@dataclass(frozen=True)
class ByteStep:
    """How a map is made bytes: real = scale · (byte - zero)."""

    scale: np.float32
    zero: np.uint8


def byte_steps(maps: Mapping[str, MapSource], tensors: Mapping[str, Values]) -> dict[str, ByteStep]:
    """The steps of maps, by name."""
    return {name: byte_step(*span(source, tensors)) for name, source in maps.items()}


def byte_step(low: float, high: float) -> ByteStep:
    """The step of a range that holds 0, as `edgecap_export.quantisation.quantise.step_of` has it."""
    scale = min(max((high - low) / 255.0, 1e-8), LARGEST_SCALE)
    return ByteStep(np.float32(scale), np.uint8(np.clip(round(-low / scale), 0, 255)))


def span(source: MapSource, tensors: Mapping[str, Values]) -> tuple[float, float]:
    """Lowest and highest value that a map is taken to have; 0 lies between them."""
    mean = np.sum([tensors[f"{norm}bias"].astype(np.float64) for norm in source.norms], axis=0)
    # what a block adds goes with its input, so the deviations are added and not their squares
    deviation = np.sum([np.abs(tensors[f"{norm}weight"].astype(np.float64)) for norm in source.norms], axis=0)
    reach = (MEAN_DEVIATIONS if source.pooled else DEVIATIONS) * deviation
    low, high = mean - reach, mean + reach
    if source.swish:
        low, high = np.full_like(low, LEAST_SWISH), high / (1.0 + np.exp(-np.maximum(high, -80.0)))
    return min(float(np.quantile(low, 1 - SHARE)), 0.0), max(float(np.quantile(high, SHARE)), 0.0)
