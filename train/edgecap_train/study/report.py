"""The study's report and plot, made from its stored numbers alone (`edgecap_train.study.results`)."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from edgecap.errors import ResultError
from edgecap.util.files import write_atomically
from edgecap_train.study.claims import compare_all, interval
from edgecap_train.study.evaluation_sets import MEASURES
from edgecap_train.study.results import Results, read_stored, write_document
from edgecap_train.study.study import ROWS
from edgecap_train.study.tables import Comparisons, claims, main_claims, power_table, sources, table, title_of

NUMBERS, PLOT = "results/study.json", "results/study.png"
"""Beside the report."""
TEMPLATE = Path(__file__).parent / "results_template.md"
ABOUT = {
    "judged": "{clips} scenes of ESC-50's fifth fold with five composed captions each. The captions are regular, so "
    "CIDEr-D is high there.",
    "recordings": "{clips} real recordings with human captions: {sets}. CIDEr-D is computed within each source.",
    "tagged": "{clips} sounds without captions, of sets that no run has heard: {sets}. The figure is the share of "
    "captions that name the class which the tagger scores highest; it flatters rows that learn from the tagger.",
}
"""Measure → what it judges on."""


def report(results: Results, comparisons: Comparisons) -> str:
    """RESULTS.md as text."""
    by_source = sources(results)
    counts = [len(seeds) for seeds in results.seeds.values()]
    seconds = [float(run["seconds"]) for run in results.runs if "seconds" in run]
    return TEMPLATE.read_text(encoding="utf-8").format(
        recipe=results.recipe,
        judged="\n".join(f"- **{MEASURES[name]}**: {_about(results, name)}" for name in results.sets),  # type: ignore[index]
        table="\n".join(table(results)),
        sources="\n".join(["Means on each set of several (clips):", "", *by_source, ""]) + "\n" if by_source else "",
        plot=PLOT,
        claims="\n".join(claims(results, comparisons)),
        main="\n".join(main_claims(results, comparisons)),
        power="\n\n".join(
            "\n".join([f"On {MEASURES[name]}, {sum(of.values())} clips:", "", *power_table(results, name, comparisons)])  # type: ignore[index]
            for name, of in results.sets.items()
        ),
        seeds=" to ".join(map(str, sorted({min(counts), max(counts)}))),
        hours=sum(seconds) / 3600,
        per_run=float(np.median(seconds)) if seconds else 0.0,
        notes="".join(f"\n{note}\n" for note in results.notes),
    )


def write_report(results: Results, path: Path) -> None:
    """Write `path` (RESULTS.md), the plot and the numbers into `results/` beside it.

    Raises ResultError where no run has a result, OutputError.
    """
    if not results.scores:
        raise ResultError("no run of this study has a result yet; run one")
    comparisons = compare_all(results)
    documents = [
        {"claim": claim, "measure": measure, **one.document()}
        for claim, of in comparisons.items()
        for measure, one in of.items()
        if one is not None
    ]
    text = report(results, comparisons)
    write_atomically(path.parent / NUMBERS, write_document(results, documents))
    write_atomically(path.parent / PLOT, plot(results))
    write_atomically(path, text)


def rewrite_report(path: Path) -> None:
    """Write a report again from the numbers stored beside it. Raises ResultError where there are none, OutputError."""
    write_report(read_stored(path.parent / NUMBERS), path)


def plot(results: Results) -> bytes:
    """Every row's score with its interval on each measure, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in ROWS if row.key in results.scores]
    figure = Figure(figsize=(4.5 + 3.25 * len(results.sets), 0.42 * len(rows) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(results.sets), sharey=True, squeeze=False)[0]
    for axis, name in zip(axes, results.sets, strict=True):
        intervals = [interval(results.scores[row.key][name]) for row in rows]
        means = [one.mean for one in intervals]
        errors = [[one.mean - one.low for one in intervals], [one.high - one.mean for one in intervals]]
        axis.errorbar(means, range(len(rows)), xerr=errors, fmt="o", capsize=3)
        for index, row in enumerate(rows):
            seeds = results.scores[row.key][name].mean(1)
            axis.plot(seeds, [index] * len(seeds), "|", color="grey")
        axis.set_title(MEASURES[name] if name == "tagged" else f"CIDEr-D, {MEASURES[name]}")  # type: ignore[index]
        axis.set_yticks(range(len(rows)), [title_of(row) for row in rows])
        axis.grid(axis="x", alpha=0.4)
    axes[0].invert_yaxis()
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return data.getvalue()


def _about(results: Results, measure: str) -> str:
    sets = results.sets[measure]
    return ABOUT[measure].format(clips=sum(sets.values()), sets=", ".join(f"{name} {n}" for name, n in sets.items()))
