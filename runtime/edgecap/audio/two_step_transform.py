"""The Fourier transform of real samples as two steps of small matrices, for whoever multiplies by them.

With N = P Q, sample n = Q p + q and residue r = k mod P, bin k is the sum over q of A[r, q] exp(-2 pi i k q / N), and
A[r, q] the sum over p of x[n] exp(-2 pi i r p / P); A[-r] is the conjugate of A[r]. (Cooley and Tukey 1965, by
decimation in time.)

A slot is a residue r up to P / 2. Residues 0 and P / 2 are real and share one, the second as the first's imaginary
part. A row is P / 2 neighbouring bins, so that a mel band needs a few rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TwoStepTransform:
    """The matrices of a transform."""

    size: int
    """N, in samples."""
    coarse: int
    """P, a divisor of N."""

    @property
    def fine(self) -> int:
        """Q."""
        return self.size // self.coarse

    @property
    def slots(self) -> int:
        """Residues, of which one may hold two."""
        return (self.coarse + 1) // 2

    def rows(self, used: NDArray[np.int64]) -> int:
        """Rows of the bins `used`, which ascend."""
        return 2 * int(used[-1]) // self.coarse + 1

    def place(self, number: int) -> tuple[int, int]:
        """Row and slot of a bin."""
        residue = min(number % self.coarse, -number % self.coarse)
        return 2 * number // self.coarse, 0 if 2 * residue == self.coarse else residue

    def first(self, begin: int, end: int) -> NDArray[np.float64]:
        """Real and imaginary part of each slot in turn, from the samples p from `begin` to `end`: (2 slots, p)."""
        turns = np.outer(np.arange(self.coarse // 2 + 1), np.arange(begin, end)) % self.coarse
        waves = np.exp(-2j * np.pi * turns / self.coarse)
        parts = np.stack([waves.real, waves.imag], axis=1)
        if self.coarse % 2 == 0:
            parts[0, 1] = parts[-1, 0]
        return np.asarray(parts[: self.slots].reshape(2 * self.slots, -1))

    def second(self, used: NDArray[np.int64]) -> NDArray[np.float64]:
        """For each slot the bins `used`, from its sums of all q: (slots, 2, rows, 2, Q).

        The first 2 are the bin's real and imaginary part, the second one those of the sums.
        """
        matrices = np.zeros((self.slots, 2, self.rows(used), 2, self.fine))
        for number in used.tolist():
            row, slot = self.place(number)
            turn = np.exp(-2j * np.pi * (number * np.arange(self.fine) % self.size) / self.size)
            remainder = number % self.coarse
            if slot == 0:  # a real sum, in the place that `first` says
                matrices[slot, :, row, int(remainder != 0)] = turn.real, turn.imag
            else:
                sign = 1.0 if 2 * remainder < self.coarse else -1.0
                matrices[slot, 0, row] = turn.real, -sign * turn.imag
                matrices[slot, 1, row] = turn.imag, sign * turn.real
        return matrices

    def placed(self, bank: NDArray[np.float32], used: NDArray[np.int64]) -> NDArray[np.float32]:
        """A mel bank (n_mels, N // 2 + 1) over rows and slots: (n_mels, rows, slots)."""
        weights = np.zeros((len(bank), self.rows(used), self.slots), np.float32)
        for number in used.tolist():
            weights[(slice(None), *self.place(number))] = bank[:, number]
        return weights


def cheapest(size: int, divides: int) -> TwoStepTransform:
    """The transform of `size` samples that takes the fewest operations, N (P + 2 Q), where Q divides `divides`."""
    parts = [part for part in range(1, size + 1) if size % part == 0 and divides % (size // part) == 0]
    return TwoStepTransform(size, min(parts, key=lambda part: part + 2 * size // part))
