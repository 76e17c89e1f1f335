"""The README's table of a comparison."""

from __future__ import annotations

from edgecap.runtimes import RUNTIMES
from edgecap_bench.comparison.results import Comparison
from edgecap_bench.reports.tables import amount, digits, markdown_table

README_TITLES = {"teacher": "teacher HTSAT-BART as published", "reference": "student as published, PyTorch"}


def readme_table(comparison: Comparison) -> str:
    """The README's table of times, in Markdown: medians, and how often each captions while a teacher does once."""
    measured = {each.key: each for each in comparison.measured()}
    teachers = [measured[key] for key in ("teacher", "teacher-onnx")]
    rows = []
    for each in measured.values():
        bundle = f"`{each.key.split()[0]}`, {RUNTIMES[each.runtime].title}, {each.precision}" if each.runtime else ""
        if name := bundle or README_TITLES.get(each.kind, ""):
            times = [each.times_faster_than(teacher) for teacher in teachers] if bundle else []
            ratios = [f"{digits(ratio.median)} [{digits(ratio.low)}, {digits(ratio.high)}]" for ratio in times]
            rows.append((name, amount(each.caption.median, "s"), *(ratios or ("", ""))))
    header = ("", "a clip", "times the published teacher's speed", "times the teacher's at its best (ONNX Runtime)")
    return markdown_table(header, rows)
