"""Fitting how probable captions are: on made-up embeddings of which it is known what can be heard in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecap.caption import Beam
from edgecap.errors import TableError
from edgecap_train.confidence.fit import fit
from edgecap_train.confidence.judging import NAMES, judged_by_people, judged_by_tagger
from edgecap_train.confidence.material import PLAIN, Heard
from edgecap_train.confidence.regression import logistic_regression
from edgecap_train.confidence.report import SETS, confidence_of, cross_validated
from edgecap_train.confidence.targets import row_weights, targets
from edgecap_train.evaluation.calibration import at_half_coverage, calibration
from edgecap_train.evaluation.fault_signals import KINDS, fault_signals
from edgecap_train.evaluation.held_out import Reference
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
        side = "" if true == 2 else f"set {number // 3 % 2}"
        clip = f"{seed} {number}"
        made.append(Heard(clip, side, PLAIN, embedding, beams, right, right, heard, fault=true == 2))
    return made


def by_people(made: list[Heard], side: str) -> list[Heard]:
    """The same sounds as recordings of a source that people captioned."""
    sounds = [row for row in made if not row.fault]
    return [replace(row, clip=f"{side} {row.clip}", side=side, people=True) for row in sounds]


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
        fit([replace(row, scores=None) for row in rows(600)], VOCABULARY)


def test_weights_are_those_of_the_data() -> None:
    inputs = np.random.default_rng(0).standard_normal((4000, 2))
    truth = np.random.default_rng(1).random(4000) < 1 / (1 + np.exp(-(2 * inputs[:, 0] - 1)))
    fitted = logistic_regression(inputs, truth.astype(float), np.ones(4000), 1.0)
    assert fitted == pytest.approx([2, 0, -1], abs=0.15)


def test_weights_are_found_below_a_ceiling() -> None:
    random = np.random.default_rng(0)
    inputs, ceilings = random.standard_normal((8000, 1)), random.uniform(0.3, 1.0, 8000)
    truth = (random.random(8000) < ceilings / (1 + np.exp(-2 * inputs[:, 0] - 1))).astype(float)
    below = logistic_regression(inputs, truth, np.ones(8000), 1.0, ceilings=ceilings)
    assert below == pytest.approx([2, 1], abs=0.2)
    assert logistic_regression(inputs, truth, np.ones(8000), 1.0)[1] < 0.4


def test_the_level_is_that_of_a_side_nobody_knows_and_not_of_the_largest() -> None:
    random = np.random.default_rng(0)
    sides = np.repeat([0, 1, 2, 3, 4, 5], [50_000, *[1_000] * 5])
    levels = np.array([2.0, -1.0, -1.0, -1.0, -1.0, -1.0])[sides]
    inputs = random.standard_normal((len(sides), 1))
    truth = (random.random(len(sides)) < 1 / (1 + np.exp(-levels - inputs[:, 0]))).astype(float)
    one = logistic_regression(inputs, truth, np.ones(len(sides)), 1.0)
    each = logistic_regression(inputs, truth, np.ones(len(sides)), 1.0, sides=sides, spread=1.0)
    assert one[1] > 1.2
    assert each[1] < 0.2
    assert each[0] == pytest.approx(1.0 / np.sqrt(1 + np.pi / 8), abs=0.04)  # less sure, since the side is unknown


def test_a_caption_of_which_the_tagger_does_not_know_counts_as_people_call_such_captions() -> None:
    scores = np.zeros(len(NAMES), np.float32)
    scores[NAMES.index("dog")] = 0.1  # neither heard nor certainly not
    unclear = replace(next(row for row in rows(9) if row.beams[0].text == "dog" and not row.fault), scores=scores)
    judged = [
        replace(unclear, clip=f"recording {number}", side="people", people=True, right=number < 45, broad=True)
        for number in range(50)
    ]
    counted = targets([replace(unclear, right=None, broad=None), *judged])
    assert counted.right[0] == pytest.approx((45 + 2.5) / 55)
    assert counted.right[1] == 1.0
    assert targets([replace(unclear, right=None, people=True)]).known.size == 0


def test_a_clip_weighs_as_much_under_many_conditions_as_under_two() -> None:
    row = rows(1)[0]
    many = [replace(row, clip="many")] * 10
    weights = row_weights([*many, *[replace(row, clip="few")] * 2, replace(row, clip="people", people=True)])
    assert weights[:10].sum() == pytest.approx(weights[10:12].sum())
    assert weights[-1] == pytest.approx(2 * weights[:10].sum())


def test_each_side_is_told_of_by_a_fit_without_it() -> None:
    recordings = by_people(rows(60, seed=1), "people") + by_people(rows(60, seed=3), "others")
    references = [Reference(Path(row.clip), row.side, ("a dog barks", "rain falls")) for row in recordings]
    made, unheard = rows(240), [row for row in rows(60, seed=2) if row.fault]
    reports = []
    for flipped in (False, True):
        sounds = [replace(row, right=bool(row.right) != (flipped and row.side == "people")) for row in recordings]
        fitted = [*made, *sounds]
        spec = fit(fitted, VOCABULARY)
        reports.append(cross_validated(fitted, VOCABULARY, references, spec, unheard, progress=lambda *_: None))
    assert {"all", PLAIN, "people", "others", SETS} <= reports[0].sides.keys()
    before, after = (report.sides["people"] for report in reports)
    assert after.confidence == before.confidence
    assert after.right == pytest.approx(1 - before.right)
    assert reports[1].sides["others"].confidence < reports[0].sides["others"].confidence
    assert reports[1].sides["others"].ranking < reports[0].sides["others"].ranking + 1e-9
    assert after.error > 0.4 > before.error
    assert reports[1].level_of_sides > reports[0].level_of_sides


def test_calibration_figures() -> None:
    figures = calibration([0.9, 0.8, 0.2, 0.1], [True, True, False, False])
    assert (figures.right, figures.confidence, figures.ranking) == (0.5, 0.5, 1.0)
    assert (figures.claims, figures.right_claims) == (0.5, 1.0)
    assert figures.error == pytest.approx(0.15)
    assert calibration([0.5] * 100, [True] * 50 + [False] * 50).ranking == 0.5
    assert at_half_coverage([0.9, 0.8, 0.2, 0.1], [2.0, 1.0, 0.5, 0.5]) == 1.5


def test_what_chance_adds_to_a_calibration_error_is_told_apart() -> None:
    random = np.random.default_rng(0)
    errors, chances, excesses = [], [], []
    for _ in range(40):  # true confidences, each recording heard ten times with the same outcome
        values = random.uniform(0.2, 0.9, 60)
        outcome = random.random(60) < values
        clips = [f"{place}" for place in range(60) for _ in range(10)]
        figures = calibration(np.repeat(values, 10).tolist(), np.repeat(outcome, 10).tolist(), clips)
        errors.append(figures.error)
        chances.append(figures.by_chance)
        excesses.append(figures.excess)
    assert np.mean(chances) == pytest.approx(np.mean(errors), rel=0.1)
    assert np.mean(excesses) < 0.6 * np.mean(errors)
    values = random.uniform(0.2, 0.9, 4000)
    figures = calibration(values.tolist(), (random.random(4000) < values - 0.15).tolist())
    assert figures.error == pytest.approx(0.15, abs=0.03)
    assert figures.excess == pytest.approx(0.15, abs=0.03)
    assert figures.by_chance < 0.03
    assert calibration([0.9, 0.5, 0.1], [1.0, 0.6, 0.0]).ranking > 0.9  # where it is known by its probability alone


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
