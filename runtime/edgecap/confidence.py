"""How probable it is that the main source of a caption is right: a calibrated figure, which the score is not.

Computed from what a caption leaves anyway: the beams, and the clip embedding, whose product with a small matrix says
how strongly each source is heard, and whether any is. No graph runs twice, so all runtimes give the same. What was
fitted, and is stored in the bundle, are that matrix and the weights of the features.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecap.bundle.confidence import AGAIN, ConfidenceSpec, SourceSpec
from edgecap.caption import Assessment, Beam
from edgecap.errors import ManifestError

PLAIN_FEATURES = 11
"""Features before those of which source the caption names first."""
NOT_NAMED = -6.0
"""Logit that stands for the source of a caption which names none."""
MOST_LOGIT = 12.0
Floats = NDArray[np.float64]


class SourceWords:
    """Which sources a caption's tokens name, in the order in which it names them."""

    def __init__(self, sources: Sequence[SourceSpec]) -> None:
        self._of_token: dict[int, list[int]] = {}
        for index, source in enumerate(sources):
            for token in source.tokens:
                self._of_token.setdefault(token, []).append(index)

    def __call__(self, tokens: Sequence[int]) -> list[int]:
        """Indices of sources, each once, the first named first."""
        return list(dict.fromkeys(source for token in tokens for source in self._of_token.get(token, ())))


def features(named: Sequence[Sequence[int]], scores: Sequence[float], logits: Floats) -> Floats:
    """Features of a caption, (11 + sources,): what the logistic functions weigh.

    `named` are the sources that each beam names (best first), `scores` those of the beams, `logits` (sources + 1,) how
    strongly each source is heard and last whether any is. In this order: the best score; share of the other beams that
    name the caption's first source, and the score's lead over the second beam; 1 where there is one beam alone; sources
    named, at most 3; 1 where none is; logit of the first source, of the strongest that is not named, the first's
    distance and that of the strongest named to the strongest of all; the logit of whether any is heard; 1 for the first
    source.
    """
    *heard, any_heard = logits.tolist()
    first, others = (named[0][0] if named[0] else None), named[1:]
    strongest = max(heard)
    own = NOT_NAMED if first is None else heard[first]
    unnamed = [logit for source, logit in enumerate(heard) if source not in named[0]]
    result = np.zeros(PLAIN_FEATURES + len(heard))
    result[:PLAIN_FEATURES] = (
        scores[0],
        sum(first in other for other in others) / len(others) if others else 0.0,
        scores[0] - scores[1] if others else 0.0,
        not others,
        min(len(named[0]), 3),
        first is None,
        own,
        max(unnamed, default=NOT_NAMED),
        own - strongest,
        max((heard[source] for source in named[0]), default=NOT_NAMED) - strongest,
        max(-MOST_LOGIT, min(any_heard, MOST_LOGIT)),
    )
    if first is not None:
        result[PLAIN_FEATURES + first] = 1.0
    return result


def logistic(logit: float) -> float:
    """1 / (1 + exp(-logit)), without overflow."""
    return 1.0 / (1.0 + math.exp(-max(-700.0, min(logit, 700.0))))


class Confidence:
    """Assesses captions of one bundle. It holds no state between calls."""

    def __init__(self, spec: ConfidenceSpec, *, embedding_dim: int, vocabulary_size: int) -> None:
        """Raises ManifestError where it does not fit the bundle."""
        columns = len(spec.sources) + 1
        try:
            projection = np.frombuffer(base64.b64decode(spec.projection, validate=True), np.int8)
        except binascii.Error as error:
            raise ManifestError(f"the bundle's confidence has no valid projection ({error}); {AGAIN}") from error
        weights = PLAIN_FEATURES + columns
        if spec.embedding_dim != embedding_dim or projection.size != embedding_dim * columns:
            raise ManifestError(f"the bundle's confidence does not fit its embedding of {embedding_dim}; {AGAIN}")
        if len(spec.right) != weights:
            raise ManifestError(f"the bundle's confidence has {len(spec.right)} weights, not {weights}; {AGAIN}")
        if any(not 0 <= token < vocabulary_size for source in spec.sources for token in source.tokens):
            raise ManifestError(f"the bundle's confidence names words that the vocabulary does not have; {AGAIN}")
        self._spec = spec
        self._words = SourceWords(spec.sources)
        self._projection = projection.reshape(embedding_dim, columns).astype(np.float32)
        self._scales, self._offsets = np.array(spec.scales), np.array(spec.offsets)
        self._weights = np.array([spec.right, spec.broad])

    def __call__(self, embedding: NDArray[np.float32], beams: Sequence[Beam]) -> Assessment:
        """Assess the best of `beams`, at least one; `embedding` (embedding_dim,) as the encoder gave it."""
        logits = (embedding @ self._projection) * self._scales + self._offsets
        named = [self._words(beam.tokens) for beam in beams]
        values = features(named, [beam.score for beam in beams], logits)
        heard = logistic(float(logits[-1]))
        right, broad = (
            heard * logistic(float(weights[:-1] @ values) + float(weights[-1])) for weights in self._weights
        )
        group = self._spec.groups[self._spec.sources[named[0][0]].group] if named[0] else self._spec.unclear
        return Assessment(right, max(right, broad), group, self._spec.unclear)
