"""The rows of a matrix of embeddings that are nearest to a vector by cosine, without looking at all of them.

Rows are of length 1. Of each, the matrix holds the part in a few directions in which the embeddings differ most (the
head, float32), the length of what is left (the rest), and the row itself (float16). By the Cauchy-Schwarz inequality
the cosine with a vector is at most head · head of the vector + rest · rest of the vector, so that only rows whose bound
is high enough are looked at as a whole.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HEAD = 96
"""Directions of the head, at most."""
SAMPLE = 20_000
"""Rows from which the directions are computed."""
_BATCH = 2048
"""Rows that are looked at as a whole at once."""
MOST_LOOKED_AT = 1 << 16
"""Rows that are looked at as a whole for one answer, those with the highest bounds.

Only a sound that is far from all of an archive has more whose bound is high enough; its answer may lack some as far.
"""
_SLACK = 2e-3
"""More than the rounding of float16 changes a cosine."""

Floats = NDArray[np.float32]


def directions(rows: NDArray[np.float16] | Floats) -> Floats:
    """The directions, shape (dim, at most HEAD), orthonormal, from a sample of rows (n, dim)."""
    sample = unit(rows)
    _, vectors = np.linalg.eigh(sample.T @ sample)
    return np.ascontiguousarray(vectors[:, ::-1][:, :HEAD], np.float32)


def unit(rows: NDArray[np.float16] | Floats) -> Floats:
    """Rows (n, dim) as float32 of length 1; zeros stay zeros."""
    floats = rows.astype(np.float32)
    lengths = np.linalg.norm(floats, axis=-1, keepdims=True)
    return np.asarray(floats / np.where(lengths > 0, lengths, 1), np.float32)


class EmbeddingMatrix:
    """Embeddings (n, dim) and what makes looking for near ones fast. Silent rows are zeros."""

    def __init__(self, rows: NDArray[np.float16], heads: Floats, rests: Floats, axes: Floats) -> None:
        """`rows` (n, dim), `heads` (n, k), `rests` (n,), `axes` (dim, k); the arrays may be maps of files."""
        self.rows, self.heads, self.rests, self.axes = rows, heads, rests, axes

    def nearest(
        self, vector: Floats, limit: int, among: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], Floats]:
        """Numbers and cosines of the `limit` nearest rows, nearest first, among some rows or all; silent ones never.

        `vector` (dim,), of any length but zero.
        """
        query = unit(vector[None])[0]
        head = query @ self.axes
        rest = float(np.sqrt(max(0.0, 1.0 - float(head @ head))))
        numbers = np.arange(len(self.rows)) if among is None else among
        heads, rests = (self.heads, self.rests) if among is None else (self.heads[among], self.rests[among])
        left = np.where(rests < 0, -np.inf, heads @ head + rest * rests + _SLACK)
        best, cosines, least = np.empty(0, np.int64), np.empty(0, np.float32), -np.inf
        size, looked_at = max(_BATCH, limit), 0
        while looked_at < max(MOST_LOOKED_AT, limit):
            chosen = np.flatnonzero((left >= least) & (left > -np.inf))
            if not chosen.size:
                break
            if chosen.size > size:
                chosen = chosen[np.argpartition(left[chosen], -size)[-size:]]
            left[chosen] = -np.inf
            looked_at += chosen.size
            chosen.sort()  # in the order of the file
            rows = numbers[chosen]
            best = np.concatenate((best, rows))
            cosines = np.concatenate((cosines, self.rows[rows].astype(np.float32) @ query))
            order = np.lexsort((best, -cosines))[:limit]
            best, cosines = best[order], cosines[order]
            if best.size == limit:
                least = float(cosines[-1])
            size = min(4 * size, 1 << 15)
        return best, cosines


def parts(
    embeddings: NDArray[np.float16], silent: NDArray[np.bool_], axes: Floats
) -> tuple[NDArray[np.float16], Floats, Floats]:
    """Rows, heads and rests of some embeddings (n, dim); a row that is silent or not finite has a rest of -1."""
    embeddings = np.where((silent | ~np.isfinite(embeddings).all(axis=1))[:, None], np.float16(0), embeddings)
    rows = unit(embeddings)
    heads = rows @ axes
    rests = np.sqrt(np.maximum(0.0, 1.0 - np.sum(heads * heads, axis=1))).astype(np.float32)
    rests[~embeddings.any(axis=1)] = -1.0
    return rows.astype(np.float16), heads, rests
