"""Figures in the documents are those that were measured: one number for one thing."""

from __future__ import annotations

import re

import pytest

from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import BUNDLED
from edgecap_bench.comparison.results import CandidateResult, Comparison
from edgecap_bench.report import filled, readme_tables
from edgecap_bench.reports.measurement import read_measurement
from support.source_tree import REPOSITORY

RESULTS = REPOSITORY / "benchmarks" / "results"
INTERVAL = re.compile(r"-?\d\.\d+ \[-?\d\.\d+, -?\d\.\d+\]")


def text(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def measured() -> dict[str, CandidateResult]:
    comparison = read_measurement(RESULTS / "comparison.json", Comparison).body
    return {each.key: each for each in comparison.candidates}


def test_the_readmes_tables_are_those_of_the_results() -> None:
    assert filled(text("README.md"), readme_tables(RESULTS)) == text("README.md"), (
        "type: python -m edgecap_bench.report"
    )


def test_the_time_of_a_clip_is_one_number(measured: dict[str, CandidateResult]) -> None:
    milliseconds = f"{1000 * measured['tiny int8'].caption.median:.0f} ms"
    assert f"ONNX Runtime, {milliseconds} for 10 s of sound" in text("README.md")
    assert f"a caption takes {milliseconds}, 0.4 % of a hop of 2 s" in text("docs/listening.md")
    export = text("docs/export.md")
    for key, precision in (("tiny litert", "fp32"), ("tiny litert int8", "int8")):
        row = next(line for line in export.splitlines() if line.startswith(f"| `--{precision}` |") and "MB" in line)
        assert f"| {measured[key].size_bytes / 1e6:.1f} MB | {1000 * measured[key].caption.median:.1f} ms |" in row


@pytest.mark.parametrize("model", ["tiny", "effb2-trm"])
def test_the_size_of_a_model_is_one_number(model: str) -> None:
    bundle = load_bundle(BUNDLED / model)
    size = f"{bundle.loaded_size / 1e6:.1f} MB"
    card = text(f"runtime/edgecap/bundles/{model}/MODEL_CARD.md")
    assert size in re.sub(r"\s+", " ", text("README.md"))
    assert size in re.sub(r"\s+", " ", card)


def test_scores_in_the_readme_are_those_of_the_model_card() -> None:
    rows = [line for line in text("README.md").splitlines() if line.startswith("| development: ")]
    shown = [score for line in rows for score in INTERVAL.findall(line)]
    card = text("runtime/edgecap/bundles/tiny/MODEL_CARD.md")
    assert len(shown) >= 8
    assert [score for score in shown if score not in card] == []
