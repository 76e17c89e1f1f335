"""A `ConfidenceSpec` fitted to captions of which it is known whether they are right.

Two linear stages. From the clip embedding: how strongly each source is heard (ridge regression on the tagger's scores)
and whether any is (logistic regression, sounds against generated faults), both behind principal components, since there
are fewer clips than dimensions. From that and the beams: the probabilities (logistic regression). The second stage
learns from logits of first stages that were fitted without the clip, and from beams of one and of several hypotheses.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from edgecap.bundle.confidence import ConfidenceSpec
from edgecap.confidence import SourceWords, features
from edgecap.errors import TableError
from edgecap_train.confidence.material import Heard
from edgecap_train.text.broader import STATEMENTS, UNCLEAR, source_words

COMPONENTS = 128
FOLDS = 5
RIDGE, ANY_PENALTY, PENALTY = 100.0, 3.0, 3.0
"""Weights of the penalties: of the sources, of whether any is heard, of the probabilities."""
RECORDING_WEIGHT, ALONE_WEIGHT = 3.0, 0.3
"""Weight of a recording that people captioned beside a clip of a set; of a caption as if it had been the only beam."""
SPREAD_FLOOR = 0.3
"""Of the mean spread of an embedding's dimensions: added to that of each."""
FAULT_WEIGHT = 3.0
"""Of a generated fault beside a sound: a claim about a fault is the worse error."""
LEAST_RIGHT = 20
"""Captions that must be right, and wrong, for a fit."""
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


def fit(rows: Sequence[Heard], vocabulary: Sequence[str]) -> ConfidenceSpec:
    """Fit all of it. Raises TableError where there are too few captions that are right, or wrong."""
    known = [row for row in rows if row.right is not None and not row.fault]
    right = sum(bool(row.right) for row in known)
    if min(right, len(known) - right) < LEAST_RIGHT or not any(row.fault for row in rows):
        raise TableError(
            f"of {len(known)} captions {right} are right; a probability needs {LEAST_RIGHT} that are right and "
            f"{LEAST_RIGHT} that are wrong: name more recordings (--data) or sets (--pool, --held-out)"
        )
    sources = source_words(vocabulary)
    words = SourceWords(sources)
    folds = np.array([crc32(row.clip.encode()) % FOLDS for row in rows])
    logits = np.zeros((len(rows), len(sources) + 1))
    for fold in range(FOLDS):
        others = [row for row, place in zip(rows, folds, strict=True) if place != fold]
        inside = [int(place) for place in np.flatnonzero(folds == fold)]
        if inside:
            logits[inside] = projection(others)([rows[place] for place in inside])
    values, targets, weights = [], [], []
    for row, heard in zip(rows, logits, strict=True):
        if row.right is None or row.broad is None or row.fault:
            continue
        weight = RECORDING_WEIGHT if row.scores is None else 1.0
        for count, share in ((len(row.beams), 1.0), (1, ALONE_WEIGHT)):
            beams = row.beams[:count]
            values.append(features([words(beam.tokens) for beam in beams], [beam.score for beam in beams], heard))
            targets.append((row.right, row.broad))
            weights.append(weight * share)
    inputs, wanted = np.array(values), np.array(targets, np.float64)
    columns, scales = _int8((final := projection(rows)).weights)
    return ConfidenceSpec(
        sources=sources,
        groups=STATEMENTS,
        unclear=UNCLEAR,
        embedding_dim=len(columns),
        projection=base64.b64encode(columns.tobytes()).decode(),
        scales=_numbers(scales),
        offsets=_numbers(final.offsets),
        right=_numbers(logistic_regression(inputs, wanted[:, 0], np.array(weights), PENALTY)),
        broad=_numbers(logistic_regression(inputs, wanted[:, 1], np.array(weights), PENALTY)),
    )


def projection(rows: Sequence[Heard]) -> Projection:
    """Fit the first stage to rows, some of them with scores of the tagger and some of faults."""
    embeddings = _embeddings(rows)
    mean, spread = embeddings.mean(0), embeddings.std(0)
    spread += SPREAD_FLOOR * spread.mean()  # a dimension that hardly moves must not need the whole range of int8
    standard = (embeddings - mean) / spread
    variance, axes = np.linalg.eigh(standard.T @ standard / len(standard))
    kept = min(COMPONENTS, int((variance > 1e-6).sum()))
    whitening = axes[:, ::-1][:, :kept] / np.sqrt(variance[::-1][:kept])
    components = standard @ whitening

    tagged = np.array([row.scores is not None for row in rows])
    scores = np.array([row.scores for row in rows if row.scores is not None], np.float64)
    if not tagged.any():
        raise TableError("no clip of a held-out set can be read; name others with --pool and --held-out")
    targets = np.log((scores + 1e-3) / (1.0 - scores + 1e-3))
    centre, offset = components[tagged].mean(0), targets.mean(0)
    inputs = components[tagged] - centre
    heard = np.linalg.solve(inputs.T @ inputs + RIDGE * np.eye(kept), inputs.T @ (targets - offset))

    sound = np.array([not row.fault for row in rows], np.float64)
    any_heard = logistic_regression(components, sound, np.where(sound == 1.0, 1.0, FAULT_WEIGHT), ANY_PENALTY)
    weights = whitening @ np.column_stack((heard, any_heard[:-1])) / spread[:, None]
    constants = np.append(offset - centre @ heard, any_heard[-1])
    return Projection(weights, constants - mean @ weights)


def logistic_regression(inputs: Floats, targets: Floats, weights: Floats, penalty: float) -> Floats:
    """Weights of the inputs (rows, n) and a constant, (n + 1,), for targets (rows,) of 0 and 1, each row weighing so.

    The penalty is on the squares of the weights of standardised inputs.
    """
    mean, spread = inputs.mean(0), inputs.std(0) + 1e-3
    standard = np.column_stack(((inputs - mean) / spread, np.ones(len(inputs))))
    shrunk = np.append(np.full(inputs.shape[1], penalty), 0.0)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        logits = standard @ parameters
        value = weights @ (np.logaddexp(0.0, logits) - targets * logits) + 0.5 * shrunk @ np.square(parameters)
        probabilities = 1.0 / (1.0 + np.exp(-np.clip(logits, -500.0, 500.0)))
        return float(value), standard.T @ (weights * (probabilities - targets)) + shrunk * parameters

    result = minimize(loss, np.zeros(standard.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    plain = result[:-1] / spread
    return np.append(plain, result[-1] - mean @ plain)


def _embeddings(rows: Sequence[Heard]) -> Floats:
    return np.stack([row.embedding for row in rows]).astype(np.float64)


def _int8(weights: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Each column as whole numbers up to 127, and what they are multiplied by."""
    scales = np.maximum(np.abs(weights).max(0), 1e-12) / 127.0
    return np.round(weights / scales).astype(np.int8), scales


def _numbers(values: Floats) -> tuple[float, ...]:
    return tuple(float(f"{value:.7g}") for value in values)
