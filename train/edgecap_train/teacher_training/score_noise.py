"""Label sets to score vectors of the kind that the tagger really gives.

A decoder that learns captions from text alone reads labels in training and a tagger's scores in use. Scores are not
labels: a present sound is often missed, its kin are raised with it, and sounds nobody wrote down are there too. The
simulator borrows all three from real audio: the score of a present label is drawn from what the tagger gave present
labels on labelled recordings, the classes raised with it come from a real clip in which that class stands out, and now
and then the scores of an unrelated clip are laid over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecap_train.training.recipe import Count, Share, Weight

Scores = NDArray[np.float32]
_EDGE = 1e-4
"""Scores are cut here before the logit is taken."""


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """How far a simulated score vector is from its labels.

    Chosen so that the ranks of present labels, the largest scores of absent ones and what consensus retrieval loses
    against true labels come out as on the development clips.
    """

    least: Share = 0.15
    """A clip lends its scores to a class that has this score in it..."""
    standing_out: Share = 0.6
    """...and at least this share of the clip's largest score."""
    fewest: Count = 3
    """A class that fewer clips lend to takes those where its score is largest."""
    kin: Share = 0.6
    """Smallest share of a lender's other classes that is kept; the share is drawn between this and 1."""
    intruders: Share = 0.4
    """Chance that an unrelated clip is laid over it, and then of a second one half as often."""
    jitter: Weight = 0.3
    """Deviation of the noise added to every logit."""


class ScoreSimulator:
    """Draws logits (classes,) for sets of labels."""

    def __init__(self, lenders: Scores, present: Scores, config: NoiseConfig, seed: int) -> None:
        """`lenders` (clips, classes): the tagger's scores in [0, 1] of any real clips.

        `present` (n,): logits that the tagger gave labels that were there. Raises ValueError where either is empty.
        """
        if not len(lenders) or not len(present):
            raise ValueError("simulated scores need the scores of real clips and of labels known to be present")
        self.config, self.rng = config, np.random.default_rng(seed)
        self.logits = logit(lenders)
        self.rest = np.quantile(self.logits, 0.2, axis=0).astype(np.float32)
        self.present = np.sort(present)
        loudest = lenders.max(1)
        self._lenders = []
        for scores in lenders.T:
            able = np.flatnonzero((scores >= config.least) & (scores >= config.standing_out * loudest))
            self._lenders.append(able if len(able) >= config.fewest else np.argsort(-scores)[: config.fewest])

    def draw(self, labels: Sequence[int]) -> Scores:
        """Logits (classes,) of a clip in which these classes are present; other ones each time."""
        rng, classes = self.rng, len(self.rest)
        drawn = self.rest + rng.normal(0.0, self.config.jitter, classes)
        for label in labels:
            target = np.interp(rng.random(), np.linspace(0, 1, len(self.present)), self.present)
            lent = self.logits[rng.choice(self._lenders[label])] - self.rest
            # the lender is turned up or down as a whole until this class has the score drawn for it
            share = np.clip((target - self.rest[label]) / max(float(lent[label]), 0.5), 0.0, 1.3)
            raised = np.where(lent > 0, lent * rng.uniform(self.config.kin, 1.0), lent) * share
            raised[label] = max(raised[label], target - self.rest[label])
            drawn = np.maximum(drawn, self.rest + raised)
        chance = self.config.intruders
        while rng.random() < chance:
            lent = self.logits[rng.integers(len(self.logits))] - self.rest
            drawn = np.maximum(drawn, self.rest + rng.uniform(0.1, 0.85) * lent)
            chance *= 0.5
        return np.asarray(drawn + rng.normal(0.0, self.config.jitter, classes), np.float32)


def logit(scores: Scores) -> Scores:
    """ln(p / (1 - p)) of scores in [0, 1]."""
    inside = np.clip(scores, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside / (1 - inside)), np.float32)
