"""Fitting how probable captions are: on made-up embeddings of which it is known what can be heard in them."""

from __future__ import annotations

import numpy as np
import pytest

from edgecap.caption import Beam
from edgecap.errors import TableError
from edgecap_train.confidence.fit import fit, logistic_regression
from edgecap_train.confidence.material import NAMES, Heard, judged_by_people, judged_by_tagger
from edgecap_train.confidence.report import confidence_of
from edgecap_train.evaluation.calibration import at_half_coverage, calibration
from edgecap_train.evaluation.fault_signals import KINDS, fault_signals
from edgecap_train.text.broader import GROUP_OF, STATEMENTS, source_words
from edgecap_train.text.main_source import SOURCES

VOCABULARY = ("<pad>", "<start>", "<end>", "<unk>", "dog", "rain", "falls")
DOG, RAIN = 4, 5


def rows(count: int, seed: int = 0) -> list[Heard]:
    """Dogs and rain, each called by the right word in four of five cases, and faults called either."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        true = number % 3  # dog, rain, fault
        embedding = random.standard_normal(16).astype(np.float32)
        embedding[true] += 6.0
        said = (true if random.random() < 0.8 else 1 - true) if true < 2 else int(random.integers(2))
        beams = tuple(Beam(VOCABULARY[DOG + said], -0.5 - 0.1 * place, (DOG + said, 2)) for place in range(3))
        scores = np.zeros(len(NAMES), np.float32)
        if true < 2:
            scores[NAMES.index(("dog", "rain")[true])] = 0.9
        right = said == true
        heard = None if true == 2 else scores
        made.append(Heard(f"{seed} {number}", "", "as recorded", embedding, beams, right, right, heard, true == 2))
    return made


def test_what_was_fitted_knows_right_from_wrong_and_claims_nothing_of_faults() -> None:
    assess = confidence_of(fit(rows(600), VOCABULARY), VOCABULARY)
    unheard = rows(300, seed=1)
    answers = [assess(row.embedding, row.beams).confidence for row in unheard]
    sounds = [(value, bool(row.right)) for value, row in zip(answers, unheard, strict=True) if not row.fault]
    figures = calibration([value for value, _ in sounds], [right for _, right in sounds])
    assert figures.ranking > 0.95
    assert figures.right_claims > 0.95
    assert figures.error < 0.08
    assert sum(value > 0.5 for value, row in zip(answers, unheard, strict=True) if row.fault) == 0


def test_too_little_to_fit_to_is_said() -> None:
    with pytest.raises(TableError, match="name more recordings"):
        fit(rows(30), VOCABULARY)
    with pytest.raises(TableError, match="no clip of a held-out set"):
        fit([row if row.fault else Heard(**{**vars(row), "scores": None}) for row in rows(600)], VOCABULARY)


def test_weights_are_those_of_the_data() -> None:
    inputs = np.random.default_rng(0).standard_normal((4000, 2))
    truth = np.random.default_rng(1).random(4000) < 1 / (1 + np.exp(-(2 * inputs[:, 0] - 1)))
    fitted = logistic_regression(inputs, truth.astype(float), np.ones(4000), 1.0)
    assert fitted == pytest.approx([2, 0, -1], abs=0.15)


def test_calibration_figures() -> None:
    figures = calibration([0.9, 0.8, 0.2, 0.1], [True, True, False, False])
    assert (figures.right, figures.confidence, figures.ranking) == (0.5, 0.5, 1.0)
    assert (figures.claims, figures.right_claims) == (0.5, 1.0)
    assert figures.error == pytest.approx(0.15)
    assert calibration([0.5] * 100, [True] * 50 + [False] * 50).ranking == 0.5
    assert at_half_coverage([0.9, 0.8, 0.2, 0.1], [2.0, 1.0, 0.5, 0.5]) == 1.5


def test_who_judges() -> None:
    people = judged_by_people(["a dog barks", "a dog is barking and it rains"])
    assert people("a dog growls") == (True, True)
    assert people("a cat meows") == (False, True)
    assert people("rain falls") == (False, False)
    assert judged_by_people(["a man does something"])("a dog barks") == (None, None)
    scores = np.zeros(len(NAMES), np.float32)
    scores[NAMES.index("dog")], scores[NAMES.index("rain")] = 0.9, 0.1
    tagger = judged_by_tagger(scores)
    assert tagger("a dog barks") == (True, True)
    assert tagger("rain falls") == (False, None)
    assert tagger("a train passes") == (False, False)


def test_every_source_has_one_group_and_the_words_of_the_vocabulary() -> None:
    assert GROUP_OF.keys() == SOURCES.keys()
    assert len(STATEMENTS) == len(set(STATEMENTS))
    words = {source.name: source.tokens for source in source_words(VOCABULARY)}
    assert (words["dog"], words["rain"], words["cat"]) == ((DOG,), (RAIN,), ())


def test_faults_are_the_same_for_a_seed_loud_enough_and_within_full_scale() -> None:
    signals, again, other = fault_signals(16_000, 2), fault_signals(16_000, 2), fault_signals(16_000, 2, seed=1)
    assert [signal.kind for signal in signals] == [kind for kind in KINDS for _ in range(2)]
    for signal, same, different in zip(signals, again, other, strict=True):
        assert signal.samples.shape == (160_000,)
        assert np.array_equal(signal.samples, same.samples)
        assert not np.array_equal(signal.samples, different.samples)
        assert np.abs(signal.samples).max() <= 1.0
        assert -90 < 20 * np.log10(signal.samples.std()) < 0
