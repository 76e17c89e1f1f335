"""From tag scores to sentences: the captioner's beams without echoes, those that claim only what is heard first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from edgecap_train.teacher_training.text_teacher import load_captioner
from edgecap_train.teachers.score_captioner import ScoreCaptioner
from edgecap_train.text.captions import without_echo
from edgecap_train.text.claims import ClaimCheck

BEAM = 6
"""Twice the published beam: the claims need something to choose from."""


class ScoreWriter:
    """A captioner of scores with its words and what they claim."""

    def __init__(self, captioner: ScoreCaptioner, vocabulary: Sequence[str], claims: ClaimCheck) -> None:
        """`captioner` in eval mode; `vocabulary`: its words, index = id."""
        self.captioner, self.vocabulary, self.claims = captioner, vocabulary, claims

    @classmethod
    def load(cls, path: Path, classes: Sequence[str]) -> ScoreWriter:
        """From the file that `edgecap train teacher tagger` wrote; `classes` in the tagger's order.

        Raises CheckpointError.
        """
        captioner, vocabulary = load_captioner(path)
        return cls(captioner, vocabulary, ClaimCheck(classes))

    def captions(self, logits: Tensor, most: int) -> list[tuple[str, ...]]:
        """At most `most` different captions of tag logits (classes,), best first, false ones after all others."""
        found = self.captioner.captions(logits, BEAM)
        spoken = (without_echo(tuple(self.vocabulary[token] for token in tokens)) for tokens in found)
        sentences = [words for words in dict.fromkeys(spoken) if words]
        scores = torch.sigmoid(logits).numpy()
        return sorted(sentences, key=lambda words: self.claims.is_false(words, scores))[:most]
