"""A Pi's times are predicted from counted work and published times, and the error of such predictions is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgecap_bench.arm.prediction import PUBLISHED, Known, carried_over, on_board, predict, tried
from edgecap_bench.arm.prediction_report import section
from edgecap_bench.comparison.results import read_comparison, write_comparison

REPOSITORY = Path(__file__).parents[3]

SLOW = Known("a board", "slow", "fp32", 100e6, 0.050)
FAST = Known("a board", "fast", "fp32", 100e6, 0.0125)


def test_a_network_takes_as_long_for_each_multiply_add_as_those_that_are_known() -> None:
    prediction = predict(200e6, [SLOW, FAST])
    assert prediction.low == pytest.approx(0.025)
    assert prediction.seconds == pytest.approx(0.050)
    assert prediction.high == pytest.approx(0.100)
    assert prediction.made_from == ("slow", "fast")


@pytest.mark.parametrize(
    "others",
    [[], [SLOW, Known("another", "fast", "fp32", 1e6, 1.0)], [SLOW, Known("a board", "bytes", "int8", 1e6, 1.0)]],
)
def test_machines_and_precisions_are_never_mixed(others: list[Known]) -> None:
    with pytest.raises(ValueError, match="one machine and one precision"):
        predict(1e6, others)


def test_each_known_network_is_predicted_from_the_others_and_never_from_itself() -> None:
    errors = {each.known.network: each.error for each in tried([SLOW, FAST])}
    assert errors == {"slow": pytest.approx(-0.75), "fast": pytest.approx(3.0)}


def test_what_has_no_other_of_its_machine_and_precision_is_not_tried() -> None:
    assert tried([SLOW, Known("another", "alone", "fp32", 1e6, 1.0)]) == []


def test_birdnet_on_a_pi_5_is_the_anchor_there_and_predicts_itself() -> None:
    birdnet = on_board("Raspberry Pi 5", "fp32")
    assert [each.network for each in birdnet] == ["BirdNET 2.4"]
    assert predict(0.83e9 / 2, birdnet).seconds == pytest.approx(0.100)


def test_a_board_with_one_known_network_takes_the_others_over_by_its_ratio() -> None:
    there = [Known("faster", "slow", "fp32", 100e6, 0.025)]
    carried = carried_over([SLOW, FAST], there)
    assert [(each.machine, each.network, each.seconds) for each in carried] == [
        ("faster", "slow", pytest.approx(0.025)),
        ("faster", "fast", pytest.approx(0.00625)),
    ]
    assert carried_over([FAST], there) == []


def test_published_networks_predict_each_other_within_a_factor_of_three() -> None:
    # wider, and a figure was copied wrongly: they are convolutional networks of one kind
    errors = [each.error for each in tried(PUBLISHED)]
    assert len(errors) == 7
    assert all(-2 / 3 < error < 2 for error in errors)


def test_the_page_predicts_edgecaps_encoders_and_calls_it_so() -> None:
    path = REPOSITORY / "benchmarks" / "results" / "comparison.json"
    text = section([path]).text
    bundles = [entrant for entrant in read_comparison(path).entrants if entrant.kind == "bundle"]
    assert text.startswith("## A Raspberry Pi's times, predicted")
    assert "Predicted, not measured" in text
    for entrant in bundles:
        assert f"| {entrant.key} | {entrant.precision} |" in text
    # of a Pi 5 no int8 time is published, so none is predicted
    assert not [line for line in text.splitlines() if "| int8 |" in line and "Raspberry Pi 5" in line]


def test_a_comparison_without_counted_bundles_predicts_nothing(tmp_path: Path) -> None:
    contest = read_comparison(REPOSITORY / "benchmarks" / "results" / "comparison.json")
    others = [entrant for entrant in contest.entrants if entrant.kind != "bundle"]
    write_comparison(tmp_path / "contest.json", replace(contest, entrants=others))
    assert section([tmp_path / "contest.json"]).text == ""
