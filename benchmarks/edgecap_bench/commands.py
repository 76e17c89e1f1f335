"""The measurements of `edgecap bench`: one model, a comparison, cost as work grows, quality, a board.

Each takes a `Request` and gives a measurement, which `edgecap_bench.reports.registry` shows.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from edgecap.bundle.models import find_model
from edgecap.errors import ConfigError
from edgecap.util.progress import Progress
from edgecap_bench.boards.submission import Submission, caption_made_clips
from edgecap_bench.candidates.selection import ComparisonPlan, Selection, runnable_models
from edgecap_bench.comparison.baseline import PUBLISHED, recorded_candidates, recorded_for
from edgecap_bench.comparison.comparison import compare
from edgecap_bench.comparison.results import CandidateResult, Comparison
from edgecap_bench.figures.figures import FiguresPlan, measure_figures
from edgecap_bench.figures.results import Figures
from edgecap_bench.harness import load
from edgecap_bench.harness.clips import check_clips
from edgecap_bench.harness.process import Cores
from edgecap_bench.reports.measurement import Measurement, MeasurementStart

Name = Literal["figures", "profile", "comparison", "growth", "quality", "submission"]
ROUNDS, COMPARISON_ROUNDS, GROWTH_ROUNDS = 60, 12, 7
TOKENS, BEAM = 12, 3
PACKAGES = ("torch", "transformers", "executorch", "ai-edge-litert")
"""Packages whose versions a comparison names."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of a command line; None where one is not given and each measurement has its own default."""

    models: tuple[str, ...] = ()
    compare: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    clips: Path | None = None
    data: Path | None = None
    dataset: str | None = None
    rounds: int | None = None
    tokens: int = TOKENS
    starts: int = 7
    threads: int = 1
    beam: int | None = None
    long: int = 3600
    even_busy: bool = False

    def command(self, *flags: str) -> str:
        """The command line that measures this again, without folders of this machine."""
        words = ["edgecap", "bench", *flags]
        for field in fields(self):
            value, option = getattr(self, field.name), option_of(field.name)
            if value == field.default:
                continue
            if value is True:
                words.append(option)
                continue
            for one in value if isinstance(value, tuple) else (value,):
                shown = Path(one).name if field.name in {"models", "compare", "clips", "data"} else str(one)
                words += [option, shown]
        return shlex.join(words)

    @property
    def cores(self) -> Cores:
        """Where what is measured runs. Raises ValueError for more threads than cores."""
        return Cores(tuple(load.cores(self.threads)), self.threads)


def all_cores() -> Cores:
    """All cores that this process may use, a thread each; no threads where the system cannot pin."""
    numbers = tuple(load.all_cores())
    return Cores(numbers, len(numbers))


def option_of(field: str) -> str:
    """The option that sets a field of `Request`."""
    names = {"models": "model", "runtimes": "runtime"}
    return f"--{names.get(field, field).replace('_', '-')}"


def figures(request: Request, watch: load.Watch, progress: Progress) -> Measurement[Figures]:
    """The figures of one model. Raises EdgecapError."""
    plan = FiguresPlan(
        model=request.models[0] if request.models else None,
        clips=request.clips,
        rounds=request.rounds or ROUNDS,
        starts=request.starts,
        cores=request.cores,
        beam=request.beam,
        long_seconds=request.long,
    )
    start = MeasurementStart(request.command(), watch)
    result, partial = measure_figures(plan, progress)
    return start.end(result, partial=partial)


def profile(request: Request, watch: load.Watch, progress: Progress) -> Measurement[Any]:
    """The parts of one caption of one model. Raises EdgecapError."""
    from edgecap_bench.profiling.measure import ProfilePlan, measure_profile

    plan = ProfilePlan(
        model=request.models[0] if request.models else None,
        clips=request.clips,
        rounds=request.rounds or ROUNDS,
        cores=request.cores,
        beam=request.beam,
    )
    start = MeasurementStart(request.command("--profile"), watch)
    return start.end(measure_profile(plan, progress), partial=False)


def comparison(request: Request, watch: load.Watch, progress: Progress) -> Measurement[Comparison]:
    """Several models, taking turns; where records stand in for the published ones, all that are installed.

    Raises EdgecapError.
    """
    recorded = recorded_for(request.compare)
    bundles = tuple(name for name in request.compare if name not in PUBLISHED)
    models: Sequence[str | None] = request.models or (None,)
    left_out: list[str] = []
    if recorded and not request.models:
        models, left_out = runnable_models()
    start = MeasurementStart(request.command(), watch, PACKAGES)
    result, partial = _compare(request, (*models, *bundles), recorded, progress)
    return start.end(replace(result, left_out=[*left_out, *result.left_out]), partial=partial)


def _compare(
    request: Request, models: Sequence[str | None], recorded: Sequence[CandidateResult], progress: Progress
) -> tuple[Comparison, bool]:
    plan = ComparisonPlan(
        models=tuple(models),
        teacher="teacher" in request.compare and not recorded,
        reference="reference" in request.compare and not recorded,
        runtimes=request.runtimes,
        clips=request.clips,
        rounds=request.rounds or COMPARISON_ROUNDS,
        tokens=request.tokens,
        beam=request.beam or BEAM,
        cores=request.cores,
        all_cores=all_cores(),
    )
    return compare(plan, progress, recorded)


def growth(request: Request, watch: load.Watch, progress: Progress) -> Measurement[Any]:
    """Cost as work grows. Raises EdgecapError."""
    from edgecap_bench.scaling.growth import GrowthPlan, measure_growth

    plan = GrowthPlan(
        model=request.models[0] if request.models else None,
        clips=request.clips,
        rounds=request.rounds or GROWTH_ROUNDS,
        tokens=request.tokens,
        cores=request.cores,
        all_cores=all_cores(),
        hour_seconds=request.long,
    )
    start = MeasurementStart(request.command("--growth"), watch)
    result, partial = measure_growth(plan, progress)
    return start.end(result, partial=partial)


def quality(request: Request, watch: load.Watch, progress: Progress) -> Measurement[Any]:
    """Evaluation beside speed. Raises EdgecapError."""
    from edgecap_bench.quality.quality import QualityPlan, measure_quality

    assert request.data is not None  # checked by the command line
    plan = QualityPlan(
        models=(*(request.models or (None,)), *request.compare),
        runtimes=request.runtimes,
        data=request.data,
        dataset=request.dataset,
        beam=request.beam,
        cores=request.cores,
    )
    start = MeasurementStart(request.command("--quality"), watch, ("torch", "aac-metrics"))
    result, partial = measure_quality(plan, progress)
    return start.end(result, partial=partial)


def submission(request: Request, watch: load.Watch, progress: Progress) -> Measurement[Submission]:
    """A board's file: all installed models in turns, and the figures of the first. Raises EdgecapError."""
    models, left_out = (list(request.models), []) if request.models else runnable_models()
    start = MeasurementStart(request.command("--submit-file", "FILE"), watch, PACKAGES)
    result, partial = _compare(request, models, recorded_candidates(), progress)
    result = replace(result, left_out=[*left_out, *result.left_out])
    measured, captions = None, []
    try:
        if not partial:
            selection = Selection()
            for model in models:
                selection.add_bundle(find_model(model))
            graphs = {each.key: each.graphs for each in result.measured()}
            bundles = [(each.key, Path(each.path), graphs[each.key]) for each in selection.candidates]
            captions = caption_made_clips(bundles, progress)
            one = replace(request, models=(models[0],))
            figures_measured = figures(one, watch, progress)
            measured, partial = figures_measured.body, figures_measured.header.partial
    except KeyboardInterrupt:
        partial = True  # what was measured so far is kept
    return start.end(Submission(comparison=result, figures=measured, captions=captions), partial=partial)


@dataclass(frozen=True)
class Command:
    """One kind of measurement."""

    run: Callable[[Request, load.Watch, Progress], Measurement[Any]]
    title: str
    """As the command line names it."""
    unused: tuple[str, ...]
    """Fields of a `Request` that it does not use; where one is given, it is refused and not ignored."""


COMMANDS: dict[Name, Command] = {
    "figures": Command(figures, "the figures of one model", ("dataset",)),
    "profile": Command(profile, "--profile", ("dataset", "tokens", "starts", "long")),
    "comparison": Command(comparison, "a comparison", ("dataset",)),
    "growth": Command(growth, "--growth", ("dataset", "beam")),
    "quality": Command(quality, "--quality", ("clips", "rounds")),
    "submission": Command(submission, "--submit-file", ("dataset", "compare", "runtimes")),
}


def check(name: Name, request: Request) -> None:
    """Report what cannot work before the machine is observed and anything runs. Raises EdgecapError."""
    if request.clips is not None:
        check_clips(request.clips)
    if name == "comparison":
        recorded_for(request.compare)
    if name in {"growth", "profile"} and len(request.models) > 1:
        raise ConfigError(f"--{name} takes one --model at a time; run it once for each")
    if name == "quality":
        from edgecap_bench.quality.quality import check_scoring

        published = [each for each in request.compare if each in PUBLISHED]
        if published:
            raise ConfigError(
                f"--quality scores bundles, and the weights of {published[0]!r} are not available; leave it out: the "
                "published scores are in the table anyway"
            )
        check_scoring()
