"""The first stage of a fit: how strongly each source is heard in a clip embedding, and whether any is.

Ridge regression on the tagger's scores, and logistic regression of sounds against generated faults, both behind
principal components, since there are fewer clips than dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import TableError
from edgecap_train.confidence.material import Heard
from edgecap_train.confidence.regression import logistic_regression
from edgecap_train.confidence.targets import row_weights

COMPONENTS = 128
RIDGE, PENALTY = 100.0, 3.0
"""Weights of the penalties: of the sources, of whether any is heard."""
SPREAD_FLOOR = 0.3
"""Of the mean spread of an embedding's dimensions: added to that of each."""
FAULT_WEIGHT = 3.0
"""Of a generated fault beside a sound: a claim about a fault is the worse error."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Projection:
    """The first stage: an embedding to logits."""

    weights: Floats
    """(embedding_dim, sources + 1)."""
    offsets: Floats

    def __call__(self, rows: Sequence[Heard]) -> Floats:
        """Logits of each row, (rows, sources + 1)."""
        return _embeddings(rows) @ self.weights + self.offsets


def projection(rows: Sequence[Heard]) -> Projection:
    """Fit the first stage to rows with scores of the tagger and rows of faults.

    Raises TableError where there are none with scores.
    """
    embeddings, weights = _embeddings(rows), row_weights(rows)
    share = weights / weights.sum()
    mean = share @ embeddings
    spread = np.sqrt(share @ np.square(embeddings - mean))
    spread += SPREAD_FLOOR * spread.mean()  # a dimension that hardly moves must not need the whole range of int8
    standard = (embeddings - mean) / spread
    variance, axes = np.linalg.eigh((standard * share[:, None]).T @ standard)
    kept = min(COMPONENTS, int((variance > 1e-6).sum()))
    whitening = axes[:, ::-1][:, :kept] / np.sqrt(variance[::-1][:kept])
    components = standard @ whitening

    tagged = np.array([row.scores is not None for row in rows])
    if not tagged.any():
        raise TableError("no clip of a held-out set can be read; name others with --pool and --held-out")
    scores = np.array([row.scores for row in rows if row.scores is not None], np.float64)
    targets, beside = np.log((scores + 1e-3) / (1.0 - scores + 1e-3)), weights[tagged]
    centre, offset = (beside @ each / beside.sum() for each in (components[tagged], targets))
    inputs = components[tagged] - centre
    weighed = (inputs * beside[:, None]).T
    heard = np.linalg.solve(weighed @ inputs + RIDGE * np.eye(kept), weighed @ (targets - offset))

    sound = np.array([not row.fault for row in rows], np.float64)
    any_heard = logistic_regression(components, sound, np.where(sound == 1.0, weights, FAULT_WEIGHT), PENALTY)
    columns = whitening @ np.column_stack((heard, any_heard[:-1])) / spread[:, None]
    constants = np.append(offset - centre @ heard, any_heard[-1])
    return Projection(columns, constants - mean @ columns)


def _embeddings(rows: Sequence[Heard]) -> Floats:
    return np.stack([row.embedding for row in rows]).astype(np.float64)
