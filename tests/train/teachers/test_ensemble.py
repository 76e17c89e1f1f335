"""Captions chosen by two teachers together: people's for similar sounds, and a captioner's."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from edgecap_train.teachers.consensus import ConsensusConfig, ConsensusIndex, Words
from edgecap_train.teachers.ensemble import EnsembleConfig, EnsembleWriter
from edgecap_train.teachers.score_captioner import ScoreWriter
from edgecap_train.text.captions import LabelledCaption
from edgecap_train.text.lexicon import ClaimCheck
from edgecap_train.text.tokenizer import tokenize

CLASSES = ["Dog", "Rain", "Speech"]
TEXTS = [
    ("a dog barks", "Dog"),
    ("a dog is barking", "Dog"),
    ("a dog barks loudly", "Dog"),
    ("zebra crossing", "Dog"),
    ("rain falls", "Rain"),
    ("rain falls hard", "Rain"),
    ("a man speaks as a dog barks", "Speech;Dog"),
    ("a woman speaks", "Speech"),
]
CAPTIONS = [LabelledCaption(str(n), tokenize(text), tuple(labels.split(";"))) for n, (text, labels) in enumerate(TEXTS)]


class Fixed:
    """A captioner that says what the test wants it to."""

    def __init__(self, *beams: tuple[str, float]) -> None:
        self.claims = ClaimCheck(CLASSES)
        self._beams = [(tokenize(text), score) for text, score in beams]

    def beams(self, _logits: Tensor) -> list[tuple[Words, float]]:
        return self._beams


def captions(writer: Fixed, most: int = 3, **options: float) -> list[str]:
    index = ConsensusIndex(CAPTIONS, CLASSES, ConsensusConfig(neighbours=4))
    ensemble = EnsembleWriter(index, cast(ScoreWriter, writer), EnsembleConfig(**options))  # type: ignore[arg-type]
    logits = torch.logit(torch.tensor([0.9, 0.01, 0.01]))
    return [" ".join(words) for words in ensemble.captions(logits, most)]


def test_the_captioners_best_true_caption_comes_first_and_then_what_both_agree_on() -> None:
    writer = Fixed(("a woman speaks", -0.1), ("a big dog barks", -0.2), ("a dog barks", -0.3))
    assert captions(writer, 4)[:2] == ["a big dog barks", "a dog barks"]


def test_what_neither_hears_is_never_chosen() -> None:
    chosen = captions(Fixed(("a man speaks as a dog barks", -0.1), ("rain falls hard", -0.2)), 8)
    assert chosen
    assert not [text for text in chosen if "man" in text or "rain" in text]


def test_without_a_caption_of_the_captioner_people_decide_alone() -> None:
    chosen = captions(Fixed(), 8)
    assert chosen[0] in {"a dog barks", "a dog is barking", "a dog barks loudly"}
    assert chosen[-1] == "zebra crossing"  # nothing else is like it


def test_the_captioners_votes_count_as_much_as_they_are_told_to() -> None:
    writer = Fixed(("a dog is barking", -0.1), ("a dog is barking now", -0.2))
    alone, together = captions(writer, captioner=0.0), captions(writer, captioner=10.0)
    assert together[0] == "a dog is barking"
    assert together.index("a dog is barking") <= alone.index("a dog is barking")


@pytest.mark.parametrize("most", [1, 2, 4])
def test_no_caption_is_given_twice_and_no_more_than_asked_for(most: int) -> None:
    chosen = captions(Fixed(("a dog barks", -0.1), ("a dog barks", -0.2)), most)
    assert len(chosen) == len(set(chosen)) == most


def test_votes_are_finite_where_scores_are_extreme() -> None:
    index = ConsensusIndex(CAPTIONS, CLASSES, ConsensusConfig(neighbours=4))
    ensemble = EnsembleWriter(index, cast(ScoreWriter, Fixed(("a dog barks", -50.0))), EnsembleConfig())
    for values in (np.full(3, -30.0, np.float32), np.full(3, 30.0, np.float32)):
        assert ensemble.captions(torch.from_numpy(values), 3)
