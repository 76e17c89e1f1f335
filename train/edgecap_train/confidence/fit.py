"""A `ConfidenceSpec` fitted to captions of which it is known whether they are right.

Two linear stages. From the clip embedding: how strongly each source is heard, and whether any is (`projection`). From
that and the beams: the probabilities (logistic regression below the probability that any is heard). The second stage
learns from logits of first stages that were fitted without the clip, and from beams of one and of several hypotheses.
It gives the sources themselves no weights, which would be those of the sets at hand: by fits without a set, they make
the probabilities worse. Sides (sources of recordings, and sets) have constants of their own in the fit, and what is
kept is right for a side that nobody has seen.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from edgecap.bundle.confidence import ConfidenceSpec
from edgecap.confidence import PLAIN_FEATURES, SourceWords, features, logistic
from edgecap.errors import TableError
from edgecap_train.confidence.material import Heard
from edgecap_train.confidence.projection import projection
from edgecap_train.confidence.regression import logistic_regression
from edgecap_train.confidence.targets import targets
from edgecap_train.text.broader import STATEMENTS, UNCLEAR, source_words

FOLDS = 5
PENALTY = 10.0
"""Of the squares of the features' weights."""
SIDE_SPREAD = 0.7
"""Standard deviation of the sides' own constants, in logits."""
ALONE_WEIGHT = 0.3
"""Of a caption as if it had been the only beam."""
LEAST_RIGHT = 20
"""Captions that must be right, and wrong, for a fit."""
Floats = NDArray[np.float64]


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
    words, logits = SourceWords(sources), _logits_by_others(rows, len(sources))
    wanted = targets(rows)
    places = [int(place) for place in wanted.known if not rows[place].fault]
    inputs = np.array(
        [
            features([words(beam.tokens) for beam in beams], [beam.score for beam in beams], logits[place])
            for place in places
            for beams in (rows[place].beams, rows[place].beams[:1])
        ]
    )[:, :PLAIN_FEATURES]
    weights = (wanted.weights[places][:, None] * (1.0, ALONE_WEIGHT)).ravel()
    ceilings = np.repeat([logistic(logits[place, -1]) for place in places], 2)
    sides = np.repeat(np.unique([rows[place].side for place in places], return_inverse=True)[1], 2)

    def fitted(probabilities: Floats) -> tuple[float, ...]:
        fitted_weights = logistic_regression(
            inputs,
            np.repeat(probabilities[places], 2),
            weights,
            PENALTY,
            ceilings=ceilings,
            sides=sides,
            spread=SIDE_SPREAD,
        )
        return _numbers(np.concatenate((fitted_weights[:-1], np.zeros(len(sources)), fitted_weights[-1:])))

    columns, scales = _int8((final := projection(rows)).weights)
    return ConfidenceSpec(
        sources=sources,
        groups=STATEMENTS,
        unclear=UNCLEAR,
        embedding_dim=len(columns),
        projection=base64.b64encode(columns.tobytes()).decode(),
        scales=_numbers(scales),
        offsets=_numbers(final.offsets),
        right=fitted(wanted.right),
        broad=fitted(wanted.broad),
    )


def _logits_by_others(rows: Sequence[Heard], sources: int) -> Floats:
    """Logits (rows, sources + 1) of each row, by a first stage that was fitted without its clip."""
    folds = np.array([crc32(row.clip.encode()) % FOLDS for row in rows])
    logits = np.zeros((len(rows), sources + 1))
    for fold in range(FOLDS):
        others = [row for row, place in zip(rows, folds, strict=True) if place != fold]
        inside = [int(place) for place in np.flatnonzero(folds == fold)]
        if inside:
            logits[inside] = projection(others)([rows[place] for place in inside])
    return logits


def _int8(weights: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Each column as whole numbers up to 127, and what they are multiplied by."""
    scales = np.maximum(np.abs(weights).max(0), 1e-12) / 127.0
    return np.round(weights / scales).astype(np.int8), scales


def _numbers(values: Floats) -> tuple[float, ...]:
    return tuple(float(f"{value:.7g}") for value in values)
