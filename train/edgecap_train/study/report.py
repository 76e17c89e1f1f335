"""The study's table, its plot and which of the paper's claims hold, made from the result files alone.

Intervals are bootstraps over seeds and over clips at once; a difference is drawn clip by clip, both rows on the same
seeds and clips, so that the difficulty of clips cancels out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import ResultError
from edgecap.util.files import to_json, write_atomically
from edgecap_train.evaluation.metrics import Interval
from edgecap_train.study.study import JUDGED, ROWS, Row, StudyRecipe

DRAWS = 4_000
Scores = NDArray[np.float64]
TITLES = {"judged": "held-out scenes", "recordings": "real recordings"}


@dataclass(frozen=True)
class PaperClaim:
    """A claim of the paper, as one row being better than another."""

    text: str
    better: str
    worse: str


CLAIMS = (
    PaperClaim("the encoder is the bottleneck: a better encoder helps a small decoder", "teacher-small", "sup-full"),
    PaperClaim("… more than a large decoder helps a small encoder", "teacher-small", "student-large"),
    PaperClaim("the teacher's captions help, all labelled data", "seq-full", "sup-full"),
    PaperClaim("the teacher's captions help, 10 %", "seq-scarce", "sup-scarce"),
    PaperClaim("encoder distillation by MSE helps, all labelled data", "mse-full", "seq-full"),
    PaperClaim("encoder distillation by MSE helps, 10 %", "mse-scarce", "seq-scarce"),
    PaperClaim("contrastive encoder distillation helps, all labelled data", "con-full", "seq-full"),
    PaperClaim("contrastive encoder distillation helps, 10 %", "con-scarce", "seq-scarce"),
    PaperClaim("contrastive is better than MSE, all labelled data", "con-full", "mse-full"),
    PaperClaim("contrastive is better than MSE, 10 %", "con-scarce", "mse-scarce"),
    PaperClaim("audio-only data help, all labelled data", "audio-full", "con-full"),
    PaperClaim("audio-only data help, 10 %", "audio-scarce", "con-scarce"),
)


@dataclass(frozen=True)
class Results:
    """What the runs of a study gave."""

    scores: dict[str, dict[str, Scores]]
    """Row → set → CIDEr-D, (seeds, clips)."""
    seeds: dict[str, list[int]]
    runs: list[dict[str, object]]
    """The result files, without the clips' scores."""


def read_results(folder: Path) -> Results:
    """All result files of a study's folder."""
    by_row: dict[str, list[dict[str, object]]] = {}
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        by_row.setdefault(run["row"], []).append(run)
    scores, seeds, runs = {}, {}, []
    for key, group in by_row.items():
        group.sort(key=lambda run: int(str(run["seed"])))
        clips = [run.pop("cider_d") for run in group]
        scores[key] = {name: np.array([one[name] for one in clips], np.float64) for name in JUDGED}  # type: ignore[index]
        seeds[key] = [int(str(run["seed"])) for run in group]
        runs += group
    return Results(scores, seeds, runs)


def interval(scores: Scores, seed: int = 0) -> Interval:
    """Mean of (seeds, clips) with a bootstrap over both."""
    rng = np.random.default_rng(seed)
    runs, clips = scores.shape
    draws = np.empty(DRAWS)
    for draw in range(DRAWS):
        chosen = scores[rng.integers(runs, size=runs)]
        draws[draw] = chosen.mean(0)[rng.integers(clips, size=clips)].mean()
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(float(scores.mean()), float(low), float(high))


def difference(results: Results, better: str, worse: str, name: str) -> Interval | None:
    """How much better one row is than another on a set, over the seeds that both have; None where there is none."""
    if better not in results.scores or worse not in results.scores:
        return None
    shared = [seed for seed in results.seeds[better] if seed in results.seeds[worse]]
    if not shared:
        return None
    a, b = (results.scores[key][name][[results.seeds[key].index(seed) for seed in shared]] for key in (better, worse))
    return interval(a - b)


def verdict(gain: Interval | None) -> str:
    """Whether a claim holds by the difference of its rows."""
    if gain is None:
        return "not run"
    if gain.low > 0:
        return "holds"
    return "does not hold" if gain.high < 0 else "undecided"


def table(results: Results) -> list[str]:
    """Markdown: a line for each row that has results."""
    lines = ["| row | held-out scenes | real recordings | seeds | parameters |", "|---|---|---|---|---|"]
    for row in ROWS:
        if row.key not in results.scores:
            continue
        runs = [run for run in results.runs if run["row"] == row.key]
        cells = [str(interval(results.scores[row.key][name])) for name in JUDGED]
        parameters = int(str(runs[0]["parameters"])) / 1e6
        lines.append(f"| {_title(row)} | {cells[0]} | {cells[1]} | {len(runs)} | {parameters:.1f} M |")
    return lines


def claims(results: Results) -> list[str]:
    """Markdown: a line for each claim, with both differences and whether it holds."""
    lines = ["| the paper's claim | held-out scenes | | real recordings | |", "|---|---|---|---|---|"]
    for claim in CLAIMS:
        cells = []
        for name in JUDGED:
            gain = difference(results, claim.better, claim.worse, name)
            cells.append("" if gain is None else f"{gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]")
            cells.append(verdict(gain))
        lines.append(f"| {claim.text} | {' | '.join(cells)} |")
    return lines


def report(results: Results, recipe: StudyRecipe, plot_name: str) -> str:
    """RESULTS.md as text."""
    template = (Path(__file__).parent / "results_template.md").read_text(encoding="utf-8")
    return template.format(
        recipe=recipe,
        clips={name: next(iter(results.scores.values()))[name].shape[1] for name in JUDGED},
        table="\n".join(table(results)),
        plot=plot_name,
        claims="\n".join(claims(results)),
        seeds=len(results.seeds.get("sup-full", [])),
    )


def write_report(results: Results, recipe: StudyRecipe, path: Path) -> None:
    """Write `path` (RESULTS.md), the plot and the numbers into `results/` beside it.

    Raises ResultError where no run has a result, OutputError.
    """
    if not results.scores:
        raise ResultError("no run of this study has a result yet; run one")
    plot_name = "results/study.png"
    scores = {key: {name: array.tolist() for name, array in sets.items()} for key, sets in results.scores.items()}
    numbers = to_json({"runs": results.runs, "cider_d": scores}) + "\n"
    write_atomically(path.parent / "results" / "study.json", numbers)
    write_atomically(path.parent / plot_name, plot(results))
    write_atomically(path, report(results, recipe, plot_name))


def plot(results: Results) -> bytes:
    """Every row's CIDEr-D with its interval on both sets, as a PNG."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in ROWS if row.key in results.scores]
    figure = Figure(figsize=(11, 0.42 * len(rows) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(JUDGED), sharey=True)
    for axis, name in zip(axes, JUDGED, strict=True):
        intervals = [interval(results.scores[row.key][name]) for row in rows]
        means = [one.mean for one in intervals]
        errors = [[one.mean - one.low for one in intervals], [one.high - one.mean for one in intervals]]
        axis.errorbar(means, range(len(rows)), xerr=errors, fmt="o", capsize=3)
        for index, row in enumerate(rows):
            seeds = results.scores[row.key][name].mean(1)
            axis.plot(seeds, [index] * len(seeds), "|", color="grey")
        axis.set_title(f"CIDEr-D, {TITLES[name]}")
        axis.set_yticks(range(len(rows)), [_title(row) for row in rows])
        axis.grid(axis="x", alpha=0.4)
    axes[0].invert_yaxis()
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return data.getvalue()


def _title(row: Row) -> str:
    return f"{row.title} (both small)" if row.key == "sup-full" else row.title


def missing(results: Results, seeds: Sequence[int]) -> list[str]:
    """Rows and seeds without a result, as "row-seed"."""
    return [f"{row.key}-{seed}" for row in ROWS for seed in seeds if seed not in results.seeds.get(row.key, [])]
