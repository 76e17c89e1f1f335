"""Quality beside cost, as a table and as a plot of the trade-off, with published systems as points to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecap_bench.candidates.runner import Kind
from edgecap_bench.comparison.baseline import recorded_candidates
from edgecap_bench.comparison.targets import TEACHER_PARAMETERS
from edgecap_bench.quality.results import Quality
from edgecap_bench.reports.measurement import Measurement
from edgecap_bench.reports.plots import panels
from edgecap_bench.reports.tables import Page, Sheet, amount, count, measured_page, spread, threads


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """A system as its authors report it: its score is of a whole test set that edgecap does not have."""

    name: str
    parameters: int
    cider_d: float | None
    """On AudioCaps' test set, 0 to 10; None where the source gives none that can be cited."""
    kind: Kind
    """The candidate whose time is its time."""
    source: str


PUBLISHED_SCORES = (
    PublishedScore(
        name="HTSAT-BART (teacher)",
        parameters=TEACHER_PARAMETERS,
        cider_d=0.787,
        kind="teacher",
        source="WavCaps, Mei et al. 2023, arXiv 2303.17395: AudioCaps CIDEr 78.7, SPIDEr 48.5",
    ),
    PublishedScore(
        name="effb2-trm (published student)",
        parameters=11_469_250,
        cider_d=None,
        kind="reference",
        source='Xu et al. 2024, arXiv 2407.14329: "competitive" with its teacher, 19 times its speed',
    ),
)


def quality_page(measurement: Measurement[Quality]) -> Page:
    """Scores and times for people."""
    quality = measurement.body
    title = f"Quality beside cost: {quality.clips} recordings of {quality.data}, {threads(quality.threads)}"
    rows: list[tuple[str, ...]] = [
        (
            each.key,
            f"{each.cider_d:.3f}",
            f"{each.low:.3f} to {each.high:.3f}",
            f"{each.same_as_first:.0%}",
            str(each.different),
            count(each.parameters),
            amount(each.size_bytes, "B"),
            amount(each.time.median, "s"),
            spread(each.time.low, each.time.high, "s"),
        )
        for each in quality.models
    ]
    header = (
        "Model",
        "CIDEr-D",
        "95 % interval",
        "Captions as the first",
        "Different captions",
        "Parameters",
        "Files",
        "Time a caption",
        "95 % interval of the time",
    )
    published: list[tuple[str, ...]] = [
        (each.name, "" if each.cider_d is None else f"{each.cider_d:.3f}", count(each.parameters), each.source)
        for each in PUBLISHED_SCORES
    ]
    notes = [
        "Document frequencies of CIDEr-D come from these recordings alone, so a score compares only within the "
        "table; the interval is a bootstrap over the recordings.",
        "Published systems were scored by their authors on AudioCaps' whole test set: points to look at, not to "
        "rank by.",
    ]
    notes += [f"Left out: {line}." for line in (*quality.skipped, *quality.left_out)]
    published_header = ("System", "CIDEr-D, AudioCaps test", "Parameters", "Source")
    sheets = [Sheet("", header, rows), Sheet("Published systems", published_header, published)]
    return measured_page(measurement.header, title, sheets, notes=notes)


def draw(measurement: Measurement[Quality], path: Path) -> None:
    """Quality over parameters, bytes and time, published systems as labelled points (grey)."""
    quality = measurement.body
    kinds: set[Kind] = {system.kind for system in PUBLISHED_SCORES}
    recorded = {each.kind: each for each in recorded_candidates(kinds)}
    with panels(path, 3, quality_page(measurement).title, (5.0, 4.0)) as (numbers, sizes, times):
        for number, each in enumerate(quality.models):
            style = {"fmt": "o", "capsize": 2, "color": f"C{number % 10}", "label": each.key}
            error = [[each.cider_d - each.low], [each.high - each.cider_d]]
            if each.parameters:
                numbers.errorbar(each.parameters / 1e6, each.cider_d, error, **style)
            sizes.errorbar(each.size_bytes / 1e6, each.cider_d, error, **style)
            times.errorbar(1e3 * each.time.median, each.cider_d, error, **style)
        for system in PUBLISHED_SCORES:
            candidate = recorded.get(system.kind)
            places = [(numbers, system.parameters / 1e6)]
            if candidate is not None:
                places += [(sizes, candidate.size_bytes / 1e6), (times, 1e3 * candidate.caption.median)]
            for axis, x in places:
                label = system.name
                if system.cider_d is None:
                    axis.axvline(x, color="0.6", linestyle=":", label=f"{label}: no score to cite")
                else:
                    axis.plot(x, system.cider_d, "s", color="0.5", label=f"{label}: AudioCaps test")
        numbers.set(xscale="log", xlabel="million parameters", ylabel="CIDEr-D")
        sizes.set(xscale="log", xlabel="MB of files")
        times.set(xscale="log", xlabel="ms for a caption (published systems: as recorded in the package)")
        for axis in (numbers, sizes, times):
            axis.set_ylim(bottom=0)
        numbers.legend(fontsize=6)
