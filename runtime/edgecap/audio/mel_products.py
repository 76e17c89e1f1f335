"""Mel energies of frames of samples, with the Fourier transform as two steps of small matrix products.

The steps are those of `two_step_transform`, the first with the window in its matrices. That is five times the
arithmetic of a fast transform in half the time: a BLAS does it in vectors, and NumPy's transform does not. The sums are
longer, and so is their rounding: 1e-7 of a frame's loudest bin, which a logarithm with an offset hides and decibels
down to -120 do not.

Frames lie along the last axis of every array, so that nothing is copied between the steps. Each product is too small
for a BLAS to start threads of its own.
"""

from __future__ import annotations

import math
import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.two_step_transform import cheapest
from edgecap.types import LogMel, Waveform

BLOCK_FRAMES = 128
"""Frames transformed at once: few enough to stay in a processor's cache (0.8 MB)."""
_LANES = 16
"""Blocks are multiples of this, the width of a BLAS's kernels, so that a frame has the same bits in every block."""
_BANDS = 8
"""Mel bands of one product: neighbours share most of their bins."""


class _Work(NamedTuple):
    """The arrays of one thread for blocks of one size."""

    hops: Waveform
    """Transposed samples, (hop_length, frames and what the last one needs beyond)."""
    samples: Waveform
    """Those of each frame, (Q p + q, frames)."""
    first: tuple[Waveform, Waveform]
    """Input and output of the first step."""
    second: tuple[Waveform, Waveform]
    spectrum: Waveform
    """Real parts, then imaginary parts: (2, rows, slots, frames)."""
    mel: LogMel


class MelProducts:
    """Samples to mel energies for one window, mel bank and hop. Threads may share it."""

    def __init__(self, window: NDArray[np.float64], bank: NDArray[np.float32], hop_length: int, power: int) -> None:
        """`window` (n_fft,), `bank` (n_mels, n_fft // 2 + 1), `power` of the magnitude: 1 or 2."""
        self._size, self._hop, self._power, self._mels = len(window), hop_length, power, len(bank)
        transform = cheapest(len(window), len(window))
        self._fine, self._slots = transform.fine, transform.slots
        weighted, used = np.flatnonzero(window), np.flatnonzero(bank.any(axis=0))
        self._begin, self._end = int(weighted[0]) // self._fine, int(weighted[-1]) // self._fine + 1
        self._rows = transform.rows(used)
        # for each q from the samples p, and for each slot from the sums of all q
        weights = window.reshape(-1, self._fine)[self._begin : self._end].T[:, None, :]
        self._first = np.asarray(transform.first(self._begin, self._end) * weights, np.float32)
        self._second = transform.second(used).reshape(self._slots, 2 * self._rows, -1).astype(np.float32)
        self._bands = _band_matrices(transform.placed(bank, used))
        self._local = threading.local()

    def __call__(self, padded: Waveform) -> LogMel:
        """Mel energies of every complete frame of `padded` (m,): shape (n_mels, 1 + (m - n_fft) // hop_length)."""
        hop, count = self._hop, 1 + (padded.size - self._size) // self._hop
        mel = np.empty((self._mels, count), np.float32)
        for start in range(0, count, BLOCK_FRAMES):
            wanted = min(BLOCK_FRAMES, count - start)
            work = self._work(-(-wanted // _LANES) * _LANES)
            samples = padded[start * hop : start * hop + work.hops.size]
            if samples.size < work.hops.size:  # the frames beyond the last one are computed and left out
                samples = np.concatenate((samples, np.zeros(work.hops.size - samples.size, np.float32)))
            work.hops[:] = samples.reshape(-1, hop).T
            self._energies(work)
            mel[:, start : start + wanted] = work.mel[:, :wanted]
        return mel

    def _energies(self, work: _Work) -> None:
        """Mel energies of one block from its transposed hops."""
        first, last, frames = self._begin * self._fine, self._end * self._fine, work.mel.shape[1]
        for shift, hop in enumerate(range(0, last, self._hop)):
            begin, end = max(first, hop), min(last, hop + self._hop)
            if begin < end:
                work.samples[begin - first : end - first] = work.hops[begin - hop : end - hop, shift : shift + frames]
        np.matmul(self._first, work.first[0], out=work.first[1])
        np.matmul(self._second, work.second[0], out=work.second[1])
        np.multiply(work.spectrum, work.spectrum, out=work.spectrum)
        energy = work.spectrum[0]
        energy += work.spectrum[1]
        if self._power == 1:
            np.sqrt(energy, out=energy)
        for bands, near, weights in self._bands:
            np.matmul(weights, energy[near].reshape(weights.shape[1], frames), out=work.mel[bands])

    def _work(self, frames: int) -> _Work:
        """This thread's arrays for a block of `frames`. They are kept: fresh memory costs as much as the arithmetic."""
        rows, slots, fine = self._rows, self._slots, self._fine
        beyond = -(-self._size // self._hop) - 1
        local = self._local.__dict__
        if not local:  # blocks of all sizes lie in the same memory
            columns = (self._hop, (self._end - self._begin) * fine, 2 * slots * fine, 2 * rows * slots, self._mels)
            local["memory"] = [np.empty(each * (BLOCK_FRAMES + beyond), np.float32) for each in columns]
            local["work"] = {}
        kept: dict[int, _Work] = local["work"]
        if frames not in kept:
            shapes = (
                (self._hop, frames + beyond),
                (self._end - self._begin, fine, frames),
                (2 * slots, fine, frames),
                (2 * rows, slots, frames),
                (self._mels, frames),
            )
            hops, samples, sums, spectrum, mel = (
                memory[: math.prod(shape)].reshape(shape) for memory, shape in zip(local["memory"], shapes, strict=True)
            )
            kept[frames] = _Work(
                hops,
                samples.reshape(-1, frames),
                (samples.transpose(1, 0, 2), sums.transpose(1, 0, 2)),
                (sums.reshape(slots, 2 * fine, frames), spectrum.transpose(1, 0, 2)),
                spectrum.reshape(2, rows, slots, frames),
                mel,
            )
        return kept[frames]


def _band_matrices(placed: NDArray[np.float32]) -> list[tuple[slice, slice, NDArray[np.float32]]]:
    """Neighbouring mel bands, the rows of the spectrum that they need, and their weights of these rows' bins."""
    matrices = []
    for begin in range(0, len(placed), _BANDS):
        weights = placed[begin : begin + _BANDS]
        rows = np.flatnonzero(weights.any(axis=(0, 2)))
        near = slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 1)
        flat = np.ascontiguousarray(weights[:, near]).reshape(len(weights), -1)
        matrices.append((slice(begin, begin + len(weights)), near, flat))
    return matrices
