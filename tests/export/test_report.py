"""The report of an export says in counts how captions compare, and what to do for a verdict."""

from __future__ import annotations

from dataclasses import replace

from edgecap_export.bundle.comparison import StageTime
from edgecap_export.bundle.report import Report
from edgecap_export.recipes import INT8

REPORT = Report(
    name="tiny",
    runtime="onnx",
    recipe=INT8,
    front_end="outside",
    size_before=20_000_000,
    size_after=5_000_000,
    operators={},
    stages=[StageTime("caption", 20.0, 10.0)],
    compared=3,
    same_captions=2 / 3,
    same_tokens=1 / 3,
)


def test_the_first_line_compares_size_and_time_in_words() -> None:
    assert REPORT.lines()[0] == (
        "tiny in int8 for ONNX Runtime: 5.0 MB where float32 has 20.0 MB, 0.50 of the time for a caption"
    )


def test_without_recordings_captions_are_counted_and_the_way_to_a_verdict_is_named() -> None:
    counts, *advice = REPORT.caption_lines()
    assert counts.startswith("2 of 3 sounds get the same caption")
    assert counts.endswith("1 the same tokens as from PyTorch")
    assert "--verify CSV" in " ".join(advice)
    assert REPORT.faults() == []


def test_with_recordings_the_score_is_the_verdict() -> None:
    scored = replace(REPORT, score_before=0.5, score_after=0.48, score_interval=(0.4, 0.6))
    assert scored.caption_lines()[1] == "CIDEr-D 0.480 (95 % interval 0.400 to 0.600), float32 0.500"
    assert "less than 97% of float32's 0.500" in scored.faults()[0]
    assert replace(scored, score_after=0.49).faults() == []
