"""Consensus captions: the right neighbours, and the most central of them."""

from __future__ import annotations

import numpy as np

from edgecap_train.teachers.consensus import ConsensusConfig, ConsensusIndex
from edgecap_train.text.captions import LabelledCaption
from edgecap_train.text.tokenizer import tokenize

CLASSES = ["Dog", "Rain", "Speech"]
TEXTS = [
    ("a dog barks", "Dog"),
    ("a dog is barking", "Dog"),
    ("a dog barks loudly", "Dog"),
    ("zebra crossing", "Dog"),
    ("rain falls", "Rain"),
    ("rain falls hard", "Rain"),
    ("rain falls on a roof", "Rain"),
    ("hail", "Rain"),
    ("a man speaks", "Speech"),
    ("a man speaks as a dog barks", "Speech;Dog"),
    ("a woman speaks", "Speech"),
]
CAPTIONS = [LabelledCaption(str(n), tokenize(text), tuple(labels.split(";"))) for n, (text, labels) in enumerate(TEXTS)]


def index(**options: float) -> ConsensusIndex:
    return ConsensusIndex(CAPTIONS, CLASSES, ConsensusConfig(neighbours=4, **options))


def scores(**values: float) -> np.ndarray:
    return np.array([values.get(name, 0.01) for name in CLASSES], np.float32)


def test_the_caption_picked_is_about_what_was_scored() -> None:
    words = [CAPTIONS[index().pick(scores(**{name: 0.9}))[0]].words for name in ("Dog", "Rain")]
    assert "dog" in words[0]
    assert "rain" in words[1]


def test_the_odd_one_out_is_never_the_most_central() -> None:
    picked = index().pick(scores(Dog=0.9), most=4)
    assert CAPTIONS[picked[-1]].words == ("zebra", "crossing")


def test_two_sounds_pick_the_caption_of_both() -> None:
    fits = index().fits(scores(Dog=0.9, Speech=0.9))
    assert CAPTIONS[int(np.argmax(fits))].words == tokenize("a man speaks as a dog barks")


def test_a_caption_that_the_vocabulary_cannot_write_votes_and_is_not_picked() -> None:
    valid = np.array([caption.words[-1] != "barks" for caption in CAPTIONS])
    picked = index().pick(scores(Dog=0.9), most=4, valid=valid)
    assert picked
    assert all(valid[number] for number in picked)


def test_the_same_caption_is_picked_once() -> None:
    twice = ConsensusIndex([*CAPTIONS, CAPTIONS[0]], CLASSES, ConsensusConfig(neighbours=6))
    texts = [twice.captions[number].words for number in twice.pick(scores(Dog=0.9))]
    assert len(texts) == len(set(texts))


def test_a_caption_that_claims_what_was_not_heard_is_not_picked() -> None:
    """AudioCaps' dogs mostly bark while somebody speaks; a dog alone must not get a speaker."""
    talked = [LabelledCaption(str(n), tokenize("a dog barks while a man speaks"), ("Dog",)) for n in range(6)]
    alone = ConsensusIndex([*talked, *CAPTIONS], CLASSES, ConsensusConfig(neighbours=8))
    with_voice = alone.pick(scores(Dog=0.9, Speech=0.5))
    without = alone.pick(scores(Dog=0.9))
    assert "man" in alone.captions[with_voice[0]].words
    assert all("man" not in alone.captions[number].words for number in without)


def test_what_is_false_is_told_by_the_scores_alone() -> None:
    false = index().false(scores(Dog=0.9))
    assert [bool(false[n]) for n in (0, 4, 8, 9)] == [False, True, True, True]
