"""A comparison as a picture: the stages' times and the sizes of all candidates."""

from __future__ import annotations

from pathlib import Path

from edgecap_bench.comparison.report import comparison_page, name, shown
from edgecap_bench.comparison.results import STAGES, Comparison
from edgecap_bench.harness.timing import summarise
from edgecap_bench.reports.measurement import Measurement
from edgecap_bench.reports.plots import error_bars, panels


def draw(measurement: Measurement[Comparison], path: Path) -> None:
    """Whole times with their intervals, shares of the stages, and time over size, as one PNG."""
    comparison = measurement.body
    candidates = shown(comparison)
    labels = [name(each) for each in candidates]
    places = list(range(len(candidates)))
    height = max(3.4, 0.32 * len(candidates) + 1.2)
    with panels(path, 3, comparison_page(measurement).title, (5.0, height)) as (times, stages, sizes):
        summaries = [each.caption for each in candidates]
        times.barh(
            places,
            [1e3 * each.median for each in summaries],
            xerr=error_bars(summaries),
            capsize=2,
            color=["0.75" if each.recorded else "C0" for each in candidates],
        )
        times.set(xscale="log", xlabel=f"ms for {comparison.clip_seconds:g} s of sound, 95 %")
        left = [0.0] * len(candidates)
        for stage in STAGES[:3]:
            share = [summarise(each.seconds[stage]).median / each.caption.median for each in candidates]
            stages.barh(places, share, left=left, label=stage)
            left = [before + more for before, more in zip(left, share, strict=True)]
        stages.set(xlabel="share of the time")
        stages.legend(loc="lower right", fontsize=7)
        for axis in (times, stages):
            axis.set_yticks(places, labels, fontsize=7)
            axis.invert_yaxis()
        for each, label in zip(candidates, labels, strict=True):
            sizes.plot(each.size_bytes / 1e6, 1e3 * each.caption.median, "o", color="0.6" if each.recorded else "C0")
            sizes.annotate(
                label,
                (each.size_bytes / 1e6, 1e3 * each.caption.median),
                fontsize=6,
                xytext=(3, 3),
                textcoords="offset points",
            )
        sizes.set(xscale="log", yscale="log", xlabel="MB of files", ylabel="ms for a clip")
