"""Consensus captions: what people wrote about clips with similar labels, and the most central of it.

The teaching signal of the first model. A clip's tag scores pick the labelled captions whose labels fit
best and whose words claim nothing that the scores do not support; among them the caption most like the others (tf-idf
n-grams, the space CIDEr-D measures in) is the pseudo caption. No weights are learnt here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from edgecap_train.text.captions import LabelledCaption
from edgecap_train.text.lexicon import ClaimCheck

Words = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ConsensusConfig:
    """How captions are picked."""

    neighbours: int = 80
    """Captions that vote."""
    exponent: float = 0.6
    """Power that scores are raised to before they are compared with labels."""
    sharpness: float = 8.0
    """Weight of a neighbour is exp(sharpness x (its fit - the best fit))."""
    rarity: float = 0.5
    """Power of a label's inverse document frequency in the fit."""


CONSENSUS = ConsensusConfig(neighbours=150, exponent=0.7, sharpness=4.0, rarity=0.5)
"""What the teachers and the scenes are made with."""


class ConsensusIndex:
    """Labelled captions, indexed by their labels and words."""

    def __init__(self, captions: list[LabelledCaption], classes: list[str], config: ConsensusConfig) -> None:
        self.captions, self.config = captions, config
        self._labels = _label_matrix(captions, classes)
        self._check = ClaimCheck(classes)
        self._claims = np.array([self._check.made(caption.words) for caption in captions])
        counts = np.asarray(self._labels.sum(0)).ravel()
        self._weight = (np.log(len(captions) / (counts + 1.0)).clip(0.5) ** config.rarity).astype(np.float32)
        self._weight[counts == 0] = 0.0  # a class that no caption carries can pick none
        weighted = self._labels.multiply(self._weight).tocsr()
        norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1)).ravel())
        self._unit = sp.diags(1.0 / np.maximum(norms, 1e-6)) @ weighted
        self.space = NgramSpace([caption.words for caption in captions])
        self.ngrams = self.space.rows([caption.words for caption in captions])

    def fits(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosine between tag scores (classes,) and each caption's labels: (captions,)."""
        query = scores**self.config.exponent * self._weight
        return np.asarray(self._unit @ (query / max(float(np.linalg.norm(query)), 1e-9)), np.float32)

    def false(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Captions whose words claim something that these scores (classes,) do not support: (captions,)."""
        return np.asarray(self._claims[:, self._check.unsupported(scores)].any(axis=1))

    def pick(
        self, scores: NDArray[np.float32], most: int = 8, valid: NDArray[np.bool_] | None = None
    ) -> tuple[int, ...]:
        """Indices of the `most` most central neighbours of `scores` (classes,), sigmoids in [0, 1]; the best first.

        Where `valid` (captions,) is given, a caption outside it votes and is not picked.
        """
        fits = self.fits(scores)
        allowed = ~self.false(scores)
        fits[~allowed] = -1.0
        near = np.argpartition(-fits, self.config.neighbours)[: self.config.neighbours]
        weight = np.exp(self.config.sharpness * (fits[near] - fits[near].max()))
        rows = self.ngrams[near]
        similarity = (rows @ rows.T).toarray()
        np.fill_diagonal(similarity, 0.0)
        centrality = similarity @ weight / weight.sum()
        centrality *= weight**0.25  # between captions as central, the better fit
        if valid is not None:
            allowed &= valid
        centrality = np.where(allowed[near], centrality, -1.0)
        order = np.argsort(-centrality, kind="stable")
        picked, seen = [], set()
        for index in order:
            words = self.captions[near[index]].words
            if words not in seen and centrality[index] > -1.0:
                seen.add(words)
                picked.append(index)
            if len(picked) == most:
                break
        return tuple(int(near[index]) for index in picked)

    def similar(self, scores: NDArray[np.float32], most: int) -> tuple[int, ...]:
        """Indices of the `most` captions whose labels fit `scores` (classes,) best and that claim nothing else."""
        fits = np.where(self.false(scores), -1.0, self.fits(scores))
        near = np.argpartition(-fits, min(most, len(fits) - 1))[:most]
        return tuple(int(index) for index in near[np.argsort(-fits[near], kind="stable")] if fits[index] > -1.0)


def _label_matrix(captions: list[LabelledCaption], classes: list[str]) -> sp.csr_matrix:
    """Captions by classes, 1 where the caption's clip has the label."""
    column = {name: index for index, name in enumerate(classes)}
    pairs = [
        (row, column[label]) for row, caption in enumerate(captions) for label in set(caption.labels) if label in column
    ]
    rows, columns = np.array(pairs, np.int64).T
    return sp.csr_matrix((np.ones(len(pairs), np.float32), (rows, columns)), (len(captions), len(classes)))


class NgramSpace:
    """Unit tf-idf rows over n-grams of 1 to 4 words, each order weighing the same, as in CIDEr (Vedantam 2015)."""

    def __init__(self, sentences: list[Words], longest: int = 4) -> None:
        """The n-grams and their document frequencies are those of `sentences`."""
        self._columns: list[dict[Words, int]] = []
        self._rarity: list[NDArray[np.float32]] = []
        for order in range(1, longest + 1):
            documents: Counter[Words] = Counter()
            for words in sentences:
                documents.update(set(_ngrams(words, order)))
            self._columns.append({gram: column for column, gram in enumerate(documents)})
            counts = np.array([*documents.values(), 1.0][: max(1, len(documents))], np.float32)
            self._rarity.append(np.log(len(sentences) / counts))

    def rows(self, sentences: Sequence[Words]) -> sp.csr_matrix:
        """Sentences by n-grams; the inner product of two rows is at most 1. An unknown n-gram counts nothing."""
        blocks = []
        for order, (columns, rarity) in enumerate(zip(self._columns, self._rarity, strict=True), start=1):
            entries = [
                (row, columns[gram], float(count))
                for row, words in enumerate(sentences)
                for gram, count in Counter(_ngrams(words, order)).items()
                if gram in columns
            ]
            rows, cols, data = np.array(entries, np.float64).reshape(-1, 3).T
            shape = (len(sentences), len(rarity))
            matrix = sp.csr_matrix((data.astype(np.float32), (rows.astype(int), cols.astype(int))), shape)
            matrix = matrix.multiply(rarity).tocsr()
            norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)).ravel())
            blocks.append(sp.diags(0.5 / np.maximum(norms, 1e-6)) @ matrix)  # four orders of 1/4 each
        return sp.hstack(blocks, format="csr")


def _ngrams(words: Words, order: int) -> Iterator[Words]:
    return zip(*(words[start:] for start in range(order)), strict=False)
