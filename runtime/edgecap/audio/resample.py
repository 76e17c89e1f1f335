"""Streaming sample-rate conversion (libsoxr), one channel, any rate to the model's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from edgecap.errors import AudioError
from edgecap.types import Waveform

LOWEST_RATE = 100
HIGHEST_RATE = 1_536_000
"""Range of accepted rates, in hertz; a rate outside comes from a wrong header."""


def check_rate(sample_rate: float) -> None:
    """Raise AudioError for an implausible sample rate."""
    if not (math.isfinite(sample_rate) and LOWEST_RATE <= sample_rate <= HIGHEST_RATE):
        raise AudioError(
            f"a sample rate of {sample_rate:g} Hz is not between {LOWEST_RATE} and {HIGHEST_RATE}; "
            "use the rate at which the sound was recorded"
        )


class Resampler:
    """Converts a stream block by block; its low-pass filter prevents aliasing."""

    def __init__(self, source_rate: float, target_rate: int) -> None:
        check_rate(source_rate)
        self._stream = None
        if source_rate != target_rate:
            import soxr

            self._stream = soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32", quality="HQ")

    def push(self, block: Waveform, last: bool = False) -> Waveform:
        """Converted samples that are ready after `block` (n,); `last` flushes the filter."""
        if self._stream is None:
            return block
        return np.asarray(self._stream.resample_chunk(block, last=last), np.float32)


def resampled(blocks: Iterable[Waveform], source_rate: float, target_rate: int) -> Iterator[Waveform]:
    """The blocks of a stream at another rate; one zero for a stream shorter than a sample at that rate."""
    resampler, empty = Resampler(source_rate, target_rate), True
    for block in blocks:
        converted = resampler.push(block)
        empty &= not converted.size
        yield converted
    rest = resampler.push(np.empty(0, np.float32), last=True)
    yield np.zeros(1, np.float32) if empty and not rest.size else rest
