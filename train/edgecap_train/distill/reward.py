"""What a caption is worth in self-critical training: CIDEr-D with references, less penalties for faults.

CIDEr-D (Vedantam et al. 2015, arXiv 1411.5726, section 5) counts n-grams alone and is easily flattered: by captions
that break off after a common word, by repetition, and by sounds that are in many references and not in this clip. The
end of a caption is therefore a word of its own here, and the rest is penalised.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgecap_train.data.batches import Captions
from edgecap_train.distill.augment import AugmentedBatch
from edgecap_train.distill.recipe import LossRecipe
from edgecap_train.text.lexicon import ClaimCheck
from edgecap_train.text.tokenizer import END, UNK

ORDERS, DEVIATION, SCALE = 4, 6.0, 10.0
"""Of CIDEr-D: longest n-gram, deviation of lengths in words, and the factor that its authors' code has."""
OPEN_ENDED = frozenset({"a", "an", "the", "and", "as", "with", "of", "in", "on", "by", "to", "at", "then", "while"})
"""Words that no sentence ends with."""

Gram = tuple[int, ...]


class CiderD:
    """CIDEr-D of captions as token ids, with the document frequencies of one corpus."""

    def __init__(self, corpus: Iterable[Sequence[Sequence[int]]]) -> None:
        """`corpus`: the references of each clip."""
        documents: Counter[Gram] = Counter()
        clips = 0
        for references in corpus:
            clips += 1
            documents.update({gram for ids in references for gram in _grams(ids)})
        self._most = math.log(max(clips, 1))
        self._rarity = {gram: self._most - math.log(count) for gram, count in documents.items()}

    def scores(self, captions: Sequence[Sequence[int]], references: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """The score of each caption of one clip, 0 to 10: (captions,); 0 without references."""
        known = [self._vector(ids) for ids in references]
        scores = np.zeros(len(captions))
        for row, ids in enumerate(captions):
            vector, norms = self._vector(ids)
            for other, (theirs, their_norms) in zip(references, known, strict=True):
                products = [0.0] * ORDERS
                for gram, weight in vector.items():
                    theirs_too = theirs.get(gram)
                    if theirs_too is not None:  # of repetitions, as many count as the reference has
                        products[len(gram) - 1] += min(weight, theirs_too) * theirs_too
                similarity = sum(
                    product / (a * b) for product, a, b in zip(products, norms, their_norms, strict=True) if a and b
                )
                scores[row] += similarity * math.exp(-((len(ids) - len(other)) ** 2) / (2 * DEVIATION**2))
        return scores * SCALE / ORDERS / max(1, len(references))

    def _vector(self, ids: Sequence[int]) -> tuple[dict[Gram, float], list[float]]:
        """Weight of each n-gram, and the norm of each order; an n-gram that the corpus lacks is as rare as can be."""
        vector = {gram: count * self._rarity.get(gram, self._most) for gram, count in Counter(_grams(ids)).items()}
        squares = [0.0] * ORDERS
        for gram, weight in vector.items():
            squares[len(gram) - 1] += weight * weight
        return vector, [math.sqrt(square) for square in squares]


class CaptionReward:
    """Rewards of drawn captions."""

    def __init__(
        self,
        recipe: LossRecipe,
        vocabulary: Sequence[str],
        corpus: Iterable[Captions],
        classes: Sequence[str] | None = None,
    ) -> None:
        """`corpus`: the references of many clips; `classes`: names of the tagger's, without which no claim is false."""
        self.recipe = recipe
        self._cider = CiderD(corpus)
        self._open_ended = frozenset(index for index, word in enumerate(vocabulary) if word in OPEN_ENDED)
        self._claims = None if classes is None else ClaimCheck(classes)
        self._made = None if self._claims is None else np.array([self._claims.made((word,)) for word in vocabulary])

    def rewards(self, sampled: Sequence[Sequence[Sequence[int]]], batch: AugmentedBatch) -> Tensor:
        """The reward of each caption of each clip: (B, captions) float32.

        References are a clip's own captions where it has no others.
        """
        scores = torch.sigmoid(batch.logits.float()).cpu().numpy()
        rewards = [
            self._cider.scores(captions, _references(batch, clip)) - self._penalties(captions, scores[clip])
            for clip, captions in enumerate(sampled)
        ]
        return torch.from_numpy(np.array(rewards, np.float32))

    def _penalties(self, captions: Sequence[Sequence[int]], scores: NDArray[np.float32]) -> NDArray[np.float64]:
        malformed = np.array([is_malformed(ids, self._open_ended) for ids in captions], np.float64)
        penalties: NDArray[np.float64] = self.recipe.malformed * malformed
        if self._claims is not None and self._made is not None and self.recipe.false_claim:
            unsupported = self._claims.unsupported(scores)
            claimed = [self._made[list(ids)].any(axis=0) for ids in captions]
            penalties += self.recipe.false_claim * np.array([int((made & unsupported).sum()) for made in claimed])
        return penalties


def is_malformed(ids: Sequence[int], open_ended: frozenset[int]) -> bool:
    """Whether a caption of token ids breaks off, ends with one of `open_ended`, repeats itself or has a special token.

    A repetition is a word twice in a row, or the same two words twice.
    """
    words = ids[:-1]
    if not words or ids[-1] != END or words[-1] in open_ended or min(words) <= UNK:
        return True
    pairs = list(pairwise(words))
    return any(first == second for first, second in pairs) or len(set(pairs)) < len(pairs)


def _references(batch: AugmentedBatch, clip: int) -> Captions:
    return (batch.references[clip] if batch.references else []) or [*batch.human[clip], *batch.pseudo[clip]]


def _grams(ids: Sequence[int]) -> Iterable[Gram]:
    """All n-grams of up to four tokens."""
    return (tuple(ids[at : at + order]) for order in range(1, ORDERS + 1) for at in range(len(ids) - order + 1))
