"""Arrays of samples: conversion to mono float32, checks, levels.

Knows nothing about files or models. Everything here works on complete arrays or on the blocks of a stream.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgecap.errors import AudioError
from edgecap.types import Waveform
from edgecap.util.limits import MOST_CHANNELS

LEVEL_FLOOR_DBFS = -120.0
"""The level of digital silence."""
LEVEL_BLOCK_SECONDS = 0.1
FEW_BLOCKS = 32
"""So many are centred and squared as they are; of more, only those that may be the loudest."""
EPSILON = float(np.finfo(np.float32).eps)
LARGEST_SAMPLE = 16.0
"""24 dB above full scale: beyond any recording in [-1, 1], but not beyond unscaled integers."""
OPPOSITE = -0.9
"""Correlation of two channels below which they are the same sound with opposite signs."""
CORRELATED_SAMPLES = 1 << 15
"""Samples over which the correlation of two channels is taken in a stream: two thirds of a second at 48 kHz."""
_FULL_SCALE = {"int16": (0.0, 2.0**15), "int32": (0.0, 2.0**31), "uint8": (128.0, 2.0**7)}


def as_float(samples: ArrayLike) -> Waveform:
    """Samples of any accepted type as float32 in [-1, 1], shape (n, channels).

    Accepts (n,) or (n, channels) of float (already in [-1, 1]), int16, int32 or uint8.
    Raises AudioError for another type or shape.
    """
    array = np.asarray(samples)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] == 0:
        raise AudioError(f"samples need the shape (n,) or (n, channels), not {np.shape(samples)}")
    if array.shape[1] > MOST_CHANNELS:
        raise AudioError(
            f"samples of shape {array.shape} would be {array.shape[1]} channels; channels are the "
            "second axis, so pass samples.T"
        )
    if array.size == 0:
        raise AudioError("the sound has no samples; pass at least one")
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype.name not in _FULL_SCALE:
        raise AudioError(
            f"samples of type {array.dtype} have no known full scale; pass float in [-1, 1], int16, int32 or uint8"
        )
    zero, scale = _FULL_SCALE[array.dtype.name]
    return np.asarray((array.astype(np.float32) - np.float32(zero)) / np.float32(scale))


def to_int16(samples: Waveform) -> NDArray[np.int16]:
    """Float samples in [-1, 1] as 16-bit integers; larger values are clipped. `as_float` is the inverse."""
    return np.asarray(np.clip(np.rint(samples * np.float32(2**15)), -(2**15), 2**15 - 1).astype(np.int16))


def check_values(block: Waveform, sample_rate: float, offset: int = 0) -> None:
    """Raise AudioError naming the first sample of `block` (n, channels) that is NaN, infinite or far over full scale.

    `offset` is the number of frames before the block.
    """
    # without an array of absolute values; the comparisons are false where any sample is NaN
    if not block.size or (float(block.max()) <= LARGEST_SAMPLE and float(block.min()) >= -LARGEST_SAMPLE):
        return
    frame, channel = (int(i[0]) for i in np.nonzero(~(np.abs(block) <= LARGEST_SAMPLE)))
    value = float(block[frame, channel])
    place = f"sample {offset + frame} of channel {channel + 1} ({(offset + frame) / sample_rate:.3f} s)"
    if math.isfinite(value):
        raise AudioError(
            f"{place} is {value:g}, far over full scale; floating-point samples lie in [-1, 1], "
            "so divide by the largest value of the integer format"
        )
    raise AudioError(f"{place} is {'not a number' if math.isnan(value) else 'infinite'}; repair or cut the sound there")


class Downmix:
    """Blocks of a stream to one channel: the mean of the channels, with inverted channels turned back.

    Balanced microphones and some recorders deliver the second channel with the opposite sign; their plain mean is
    silence. So a channel whose correlation with the loudest one is below `OPPOSITE` changes its sign. The correlation
    covers about the last half second, so that a moment of wide stereo changes nothing.
    """

    def __init__(self) -> None:
        self._products: NDArray[np.float64] | None = None

    def push(self, block: Waveform) -> Waveform:
        """(n, channels) to (n,) float32."""
        if block.shape[1] == 1:
            return np.ascontiguousarray(block[:, 0])
        return np.asarray(block @ self._weights(block), np.float32)  # sixty times as fast as a mean over a short axis

    def _weights(self, block: Waveform) -> NDArray[np.float32]:
        """What each channel counts: its share, negative for an inverted one."""
        products = (block.T @ block).astype(np.float64)
        kept = 1.0 if self._products is None else max(0.0, 1.0 - len(block) / CORRELATED_SAMPLES)
        self._products = products if self._products is None else self._products * kept + products
        energies = np.diag(self._products)
        loudest = int(np.argmax(energies))
        opposite = self._products[loudest] < OPPOSITE * np.sqrt(energies * energies[loudest])
        return np.asarray(np.where(opposite, -1.0, 1.0) / block.shape[1], np.float32)


def to_mono(block: Waveform) -> Waveform:
    """A complete sound (n, channels) as `Downmix` makes it: (n,) float32."""
    return Downmix().push(block)


def loudest_level(samples: Waveform, sample_rate: int) -> float:
    """RMS level of the loudest 100 ms of mono samples (n,), in dB relative to full scale, at least -120.

    Each block is measured without its mean, because cheap microphones add a constant offset.
    """
    length = max(1, min(round(LEVEL_BLOCK_SECONDS * sample_rate), samples.size))
    blocks = samples[: samples.size // length * length].reshape(-1, length)
    variance = _largest_variance(_loud(blocks) if len(blocks) > FEW_BLOCKS else blocks)
    if samples.size % length:
        variance = max(variance, _largest_variance(samples[None, -length:]))
    return max(LEVEL_FLOOR_DBFS, 10.0 * math.log10(variance)) if variance > 0.0 else LEVEL_FLOOR_DBFS


def _loud(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Those of `blocks` (n, length) that may have the largest variance, by sums of squares, which need no copy.

    Beside a constant offset such a sum is inexact: off by at most `inexact`. All of them where one is not a number.
    """
    length = np.float32(blocks.shape[1])
    squares = np.einsum("ij,ij->i", blocks, blocks) / length
    means = np.add.reduce(blocks, axis=1) / length
    variances, inexact = squares - means * means, squares * np.float32(2.0 * float(length) * EPSILON)
    chosen: NDArray[np.float32] = blocks[~(variances + inexact < np.max(variances - inexact))]
    return chosen


def _largest_variance(blocks: NDArray[np.float32]) -> float:
    """Largest variance of the rows of `blocks` (n, length)."""
    length = np.float32(blocks.shape[1])
    centred: NDArray[np.float32] = np.subtract(blocks, np.add.reduce(blocks, axis=1, keepdims=True) / length)
    return float(np.einsum("ij,ij->i", centred, centred).max()) / float(length)
