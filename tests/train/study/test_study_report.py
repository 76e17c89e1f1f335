"""The study's report: verdicts clip by clip, what it would take, and a document that it can be made of again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecap.cli import run
from edgecap.errors import ResultError
from edgecap_train.study.claims import CLAIMS, MAIN_CLAIMS, compare_all, interval
from edgecap_train.study.report import report, rewrite_report, write_report
from edgecap_train.study.results import Results, read_results, read_stored
from edgecap_train.study.study import ROWS, StudyRecipe
from edgecap_train.study.tables import claims, count, main_claims, power_table, sources, table

RECIPE = StudyRecipe(seeds=[1, 2, 3])
STORED = Path(__file__).parents[3] / "train" / "results" / "study.json"


def write_runs(folder: Path, gains: dict[str, float], seeds: tuple[int, ...] = (1, 2, 3), clips: int = 40) -> None:
    """Result files of rows that score as much better or worse on every clip, with some noise."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    hard = rng.random(clips)
    for key, gain in gains.items():
        for seed in seeds:
            scores = (hard + gain + 0.01 * seed + 0.01 * rng.standard_normal(clips)).tolist()
            run = {
                "row": key,
                "seed": seed,
                "parameters": 1,
                "scores": {"judged": {"scenes": scores}, "recordings": {"a": scores[:10], "b": scores[10:]}},
                "captions": {},
            }
            (folder / f"{key}-{seed}.json").write_text(json.dumps(run))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    monkeypatch.setattr("edgecap_train.study.claims.DRAWS", 100)
    write_runs(tmp_path / "runs", {"seq-full": 0.1, "sup-full": 0.0, "mse-full": -0.1, "con-full": -0.1})
    return read_results(tmp_path / "runs", RECIPE)


def test_a_claim_holds_fails_or_stays_open_by_the_difference_clip_by_clip(results: Results) -> None:
    compared = compare_all(results)
    verdicts = {text: None if (one := of["judged"]) is None else one.verdict for text, of in compared.items()}
    assert verdicts["the teacher's captions help, all labelled data"] == "holds"
    assert verdicts["encoder distillation by MSE helps, all labelled data"] == "does not hold"
    assert verdicts["contrastive is better than MSE, all labelled data"] == "undecided"
    assert verdicts["audio-only data help, 10 %"] is None
    lines = claims(results, compared)
    assert len(lines) == 2 + len(CLAIMS)
    assert "not run" in lines[-1]
    assert len(table(results)) == 2 + 4
    assert "(both small)" in "\n".join(table(results))


def test_seeds_that_only_one_row_has_are_not_compared(tmp_path: Path, results: Results) -> None:
    write_runs(tmp_path / "runs", {"seq-full": 0.1}, seeds=(4, 5))
    more = read_results(tmp_path / "runs", RECIPE)
    assert more.seeds["seq-full"] == [1, 2, 3, 4, 5]
    one = compare_all(more)["the teacher's captions help, all labelled data"]["judged"]
    assert one is not None
    assert one.seeds == 3
    only = {
        "sup-full": results.scores["sup-full"],
        "seq-full": {k: v[:1] for k, v in results.scores["seq-full"].items()},
    }
    single = replace(results, scores=only, seeds={"sup-full": [1, 2, 3], "seq-full": [1]})
    assert compare_all(single)["the teacher's captions help, all labelled data"]["judged"] is None, (
        "one seed says little"
    )


def test_each_source_has_its_mean_and_all_of_them_one_interval(results: Results) -> None:
    assert results.of_set("sup-full", "recordings", "b").shape == (3, 30)
    with pytest.raises(KeyError):
        results.of_set("sup-full", "recordings", "c")
    lines = sources(results)
    assert lines[0] == "| row | a (10) | b (30) |"
    mean = results.scores["sup-full"]["recordings"][:, :10].mean()
    assert f"| {mean:.2f} |" in next(line for line in lines if "(both small)" in line)
    assert not sources(replace(results, sets={"judged": {"scenes": 40}}))


def test_runs_that_were_judged_on_other_clips_are_not_mixed(tmp_path: Path, results: Results) -> None:
    write_runs(tmp_path / "runs", {"seq-scarce": 0.0}, clips=41)
    with pytest.raises(ResultError, match="judged on other clips"):
        read_results(tmp_path / "runs", RECIPE)


def test_what_it_would_take_is_said_of_every_claim_that_was_run(results: Results) -> None:
    compared = compare_all(results)
    assert len(power_table(results, "judged", compared)) == 2 + 4
    words = main_claims(results, compared)
    assert len(words) == len(MAIN_CLAIMS)
    assert words[0] == "- **The encoder is the bottleneck**: not run."
    assert "does not hold in 2 of 2" in words[2]
    open_one = main_claims(results, {text: of | {"judged": None} for text, of in compared.items()})
    assert "held-out scenes" not in open_one[2]
    assert [count(number) for number in (None, 7, 99, 1_234, 56_789)] == ["never", "7", "99", "1,200", "57,000"]


def test_an_interval_grows_with_what_seeds_and_clips_disagree_about() -> None:
    rng = np.random.default_rng(0)
    same = interval(np.full((3, 50), 0.5))
    assert (same.mean, same.low, same.high) == (0.5, 0.5, 0.5)
    clips = interval(np.tile(rng.random(50), (3, 1)))
    seeds = interval(np.tile(rng.random((3, 1)), (1, 50)))
    assert clips.low < clips.mean < clips.high
    assert seeds.low < seeds.mean < seeds.high
    assert str(same) == "0.50 [0.50, 0.50]"


def test_a_report_is_made_again_from_its_numbers(
    tmp_path: Path, results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(replace(results, notes=("Made of noise.",)), tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.endswith("\nMade of noise.\n")
    stored = json.loads((tmp_path / "results" / "study.json").read_text())
    assert {"verdict", "gain", "parts", "seeds_for_small"} <= set(stored["claims"][0])
    (tmp_path / "RESULTS.md").write_text("")
    assert run(["train", "study-report", str(tmp_path / "RESULTS.md")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'RESULTS.md'}\n"
    assert (tmp_path / "RESULTS.md").read_text() == text


def test_numbers_that_are_not_a_study_are_refused(tmp_path: Path, results: Results) -> None:
    with pytest.raises(ResultError, match="no run"):
        write_report(read_results(tmp_path / "none", RECIPE), tmp_path / "RESULTS.md")
    with pytest.raises(ResultError, match=r"study\.json does not hold the results of a study"):
        rewrite_report(tmp_path / "RESULTS.md")
    write_report(results, tmp_path / "RESULTS.md")
    path = tmp_path / "results" / "study.json"
    document = json.loads(path.read_text())
    damaged: tuple[object, ...] = (
        [],
        {**document, "recipe": {"pace": 1}},
        {**document, "runs": document["runs"][1:]},
        {**document, "sets": {"judged": {"scenes": 39}}},
        {**document, "scores": {"sup-full": {"judged": ["a"]}}},
    )
    for broken in damaged:
        path.write_text(json.dumps(broken))
        with pytest.raises(ResultError, match="does not hold the results"):
            read_stored(path)


def test_the_stored_study_makes_the_report_that_is_here() -> None:
    results = read_stored(STORED)
    assert set(results.scores) == {row.key for row in ROWS}
    assert report(results, compare_all(results)) == (STORED.parents[1] / "RESULTS.md").read_text(encoding="utf-8")
