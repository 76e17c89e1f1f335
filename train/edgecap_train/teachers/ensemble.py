"""Two teachers in one: captions that people wrote for similar sounds, and those of a captioner that learnt from text.

Neither is ahead on every set of recordings. Both propose captions, and those chosen have the smallest
expected risk (Kumar and Byrne 2004): the largest mean similarity, in the space CIDEr-D measures in, to what people
wrote about similar clips and to what the captioner would write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgecap_train.teachers.consensus import ConsensusIndex, Words
from edgecap_train.teachers.score_captioner import ScoreWriter


@dataclass(frozen=True, kw_only=True)
class EnsembleConfig:
    """How the two are weighed."""

    candidates: int = 300
    """Human captions that may be chosen: those that fit best and claim nothing unsupported."""
    voters: int = 300
    """Human captions that vote, whatever they claim."""
    sharpness: float = 8.0
    """Weight of a voter is exp(sharpness x (its fit - the best fit))."""
    captioner: float = 1.0
    """Votes of all the captioner's beams together, for one vote of all human captions."""
    length_deviation: float = 4.0
    """Two captions of lengths m and n count exp(-(m - n)² / 2 of its square); 6 in CIDEr-D."""
    beam_sharpness: float = 1.0
    """Weight of a beam is exp(sharpness x (its score - the best score))."""


class EnsembleWriter:
    """Tag scores to sentences, as `ScoreWriter`."""

    def __init__(self, index: ConsensusIndex, writer: ScoreWriter, config: EnsembleConfig) -> None:
        self.index, self.writer, self.config = index, writer, config

    def captions(self, logits: Tensor, most: int) -> list[Words]:
        """At most `most` different captions of tag logits (classes,).

        The captioner's best comes first, then those of the smallest risk: a student that learns the first and one of
        the others learns from both teachers alike.
        """
        config, index = self.config, self.index
        scores = np.asarray(torch.sigmoid(logits).numpy())
        fits = index.fits(scores)
        allowed = np.where(index.false(scores), -1.0, fits)
        near = _largest(allowed, config.candidates)
        near = near[allowed[near] > -1.0]
        voters = _largest(fits, config.voters)
        written = self.writer.beams(logits)
        beams = [words for words, _ in written]
        true = [words for words in beams if not self.writer.claims.is_false(words, scores)]
        candidates = [*(index.captions[caption].words for caption in near), *true]
        rows = sp.vstack([index.ngrams[near], index.space.rows(true)]).tocsr()
        people = [index.captions[voter].words for voter in voters]
        weights = _weights(fits[voters], config.sharpness)
        votes = self._votes(candidates, rows, people, index.ngrams[voters], weights)
        own: dict[Words, float] = {}
        for words, weight in zip(people, weights.tolist(), strict=True):
            own[words] = own.get(words, 0.0) + weight
        votes -= np.array([own.get(words, 0.0) for words in candidates])  # nobody votes for what he wrote himself
        if beams and config.captioner:
            weights = _weights(np.array([score for _, score in written]), config.beam_sharpness)
            votes += config.captioner * self._votes(candidates, rows, beams, index.space.rows(beams), weights)
        chosen = (candidates[candidate] for candidate in np.argsort(-votes, kind="stable"))
        return list(dict.fromkeys([*true[:1], *chosen]))[:most]

    def _votes(
        self,
        candidates: Sequence[Words],
        rows: sp.csr_matrix,
        others: Sequence[Words],
        other_rows: sp.csr_matrix,
        weights: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Mean similarity of each candidate to the `others`: (candidates,)."""
        similarity = (rows @ other_rows.T).toarray()
        apart = np.array([len(words) for words in candidates])[:, None] - np.array([len(words) for words in others])
        similarity *= np.exp(-(apart**2) / (2 * self.config.length_deviation**2))
        return np.asarray(similarity @ weights, np.float64)


def _largest(values: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Indices of the `count` largest, in any order; of all where there are fewer."""
    return np.argpartition(-values, min(count, len(values) - 1))[:count]


def _weights(values: NDArray[np.floating], sharpness: float) -> NDArray[np.float64]:
    """Softmax of `values` times `sharpness`."""
    weights = np.exp(sharpness * (values - values.max()))
    return np.asarray(weights / weights.sum(), np.float64)
