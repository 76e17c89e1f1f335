"""What decides a comparison: parts of a variance, intervals and power come out right for studies made to known ones."""

from __future__ import annotations

import numpy as np
import pytest

from edgecap_train.study.claims import interval
from edgecap_train.study.power import (
    VarianceParts,
    clips_needed,
    paired_interval,
    power,
    seeds_needed,
    smallest_decided,
    variance_parts,
)

CASES = (VarianceParts(0.01, 0.05, 0.3), VarianceParts(0.0, 0.2, 0.1), VarianceParts(0.02, 0.0, 0.5))
STUDIES = 600


def studies(parts: VarianceParts, effect: float, seeds: int, clips: int, count: int = STUDIES) -> np.ndarray:
    """Synthetic differences, (count, seeds, clips), with a true mean and known variances."""
    rng = np.random.default_rng(7)
    of_seed = rng.standard_normal((count, seeds, 1)) * np.sqrt(parts.between_seeds)
    of_clip = rng.standard_normal((count, 1, clips)) * np.sqrt(parts.between_clips)
    rest = rng.standard_normal((count, seeds, clips)) * np.sqrt(parts.rest)
    return np.asarray(effect + of_seed + of_clip + rest)


@pytest.mark.parametrize("parts", CASES)
def test_the_parts_of_a_variance_are_found_again(parts: VarianceParts) -> None:
    estimates = [variance_parts(one) for one in studies(parts, 0.3, 30, 60, 100)]
    for name in ("between_seeds", "between_clips", "rest"):
        mean = float(np.mean([getattr(one, name) for one in estimates]))
        assert mean == pytest.approx(getattr(parts, name), rel=0.1, abs=0.002)


def test_the_variance_of_the_mean_is_that_of_many_studies() -> None:
    parts = CASES[0]
    means = studies(parts, 0.0, 4, 25, 4_000).mean((1, 2))
    assert float(means.var()) == pytest.approx(parts.of_mean(4, 25), rel=0.07)
    assert parts.lasting_share(4, 25) == pytest.approx((0.05 / 25) / parts.of_mean(4, 25))
    assert parts.lasting_share(100_000, 25) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("parts", CASES)
@pytest.mark.parametrize("seeds", [3, 10])
def test_an_interval_misses_the_truth_in_one_study_of_twenty_at_most(parts: VarianceParts, seeds: int) -> None:
    intervals = [paired_interval(one) for one in studies(parts, 0.1, seeds, 40)]
    missed = np.mean([not one.low <= 0.1 <= one.high for one in intervals])
    assert missed < 0.05 + 3 * np.sqrt(0.05 * 0.95 / STUDIES)


def test_with_many_seeds_an_interval_is_not_wider_than_it_must_be() -> None:
    intervals = [paired_interval(one) for one in studies(CASES[0], 0.1, 30, 60)]
    missed = np.mean([not one.low <= 0.1 <= one.high for one in intervals])
    assert missed > 0.05 - 3 * np.sqrt(0.05 * 0.95 / STUDIES)
    width = np.mean([one.high - one.low for one in intervals])
    assert width == pytest.approx(2 * 1.96 * np.sqrt(CASES[0].of_mean(30, 60)), rel=0.1)


@pytest.mark.parametrize(("parts", "seeds"), [(CASES[0], 12), (CASES[1], 12), (CASES[2], 20)])
def test_a_study_of_the_size_that_is_needed_decides_in_four_of_five_cases(parts: VarianceParts, seeds: int) -> None:
    effect = smallest_decided(parts, seeds, 50)
    decided = np.mean([paired_interval(one).low > 0 for one in studies(parts, effect, seeds, 50)])
    assert decided == pytest.approx(0.8, abs=0.06)
    assert power(parts, effect, seeds, 50) == pytest.approx(0.8, abs=0.001)


def test_the_seeds_and_clips_that_are_needed_are_the_fewest_that_reach_the_power() -> None:
    parts = CASES[0]
    seeds, clips = seeds_needed(parts, 0.15, 50), clips_needed(parts, 0.15, 20)
    assert seeds is not None
    assert clips is not None
    assert power(parts, 0.15, seeds, 50) >= 0.8 > power(parts, 0.15, seeds - 1, 50)
    assert power(parts, 0.15, 20, clips) >= 0.8 > power(parts, 0.15, 20, clips - 1)
    assert seeds_needed(parts, -0.15, 50) == seeds, "a loss is as hard to find as a gain"


def test_no_number_of_seeds_makes_up_for_clips_and_none_of_clips_for_seeds() -> None:
    assert seeds_needed(VarianceParts(0.0, 0.2, 0.1), 0.05, 46) is None
    assert clips_needed(VarianceParts(0.02, 0.0, 0.1), 0.05, 3) is None
    assert seeds_needed(CASES[0], 0.0, 46) is None


def test_differences_that_are_all_the_same_are_decided_at_once() -> None:
    same = np.full((3, 10), 0.2)
    assert paired_interval(same).low == pytest.approx(0.2)
    parts = variance_parts(np.full((3, 10), 0.25))
    assert smallest_decided(parts, 3, 10) == 0.0
    assert seeds_needed(parts, 0.01, 10) == 2
    with pytest.raises(ValueError, match="two seeds and two clips, not 1 and 10"):
        variance_parts(same[:1])


def test_a_bootstrap_of_three_seeds_is_too_narrow_where_seeds_differ_and_too_wide_where_they_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgecap_train.study.claims.DRAWS", 200)
    differ, alike = VarianceParts(0.02, 0.0, 0.05), VarianceParts(0.0, 0.0, 0.5)
    missed = np.mean([not one.low <= 0 <= one.high for one in map(interval, studies(differ, 0.0, 3, 20, 100))])
    assert missed > 0.09
    widths = [one.high - one.low for one in map(interval, studies(alike, 0.0, 3, 20, 100))]
    assert np.mean(widths) > 1.2 * 2 * 1.96 * np.sqrt(alike.of_mean(3, 20))
