"""What `edgecap bench` can be asked for: a model's figures, a comparison, cost as work grows, quality, a board's file.

Each mode takes a `Request` and gives an `Outcome`, which the command prints and writes.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from edgecap.bundle.models import find_model
from edgecap.errors import EdgecapError
from edgecap_bench.boards.submission import models_here
from edgecap_bench.candidates.lineup import ComparisonPlan
from edgecap_bench.comparison import compare
from edgecap_bench.comparison.plot import draw as draw_contest
from edgecap_bench.comparison.report import comparison_page
from edgecap_bench.comparison.results import write_comparison
from edgecap_bench.figures.figures import FiguresPlan, measure
from edgecap_bench.figures.report import draw, figures_page
from edgecap_bench.harness import load
from edgecap_bench.harness.clips import load_clips
from edgecap_bench.harness.machine import now, this_machine, versions
from edgecap_bench.reports.registry import Draw
from edgecap_bench.reports.results import FORMAT, FORMAT_VERSION, Result, write_result
from edgecap_bench.reports.tables import Page

Name = Literal["figures", "comparison", "growth", "quality", "submission"]
Progress = Callable[[str, int, int], None]
ROUNDS, CONTEST_ROUNDS, GROWTH_ROUNDS = 60, 12, 7
TOKENS, BEAM = 12, 3


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was typed; None where nothing was, so that each mode has its own default."""

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
    long_seconds: int = 3600
    even_busy: bool = False

    def command(self, *flags: str) -> str:
        """The command line that measures this again, without folders of this machine."""
        words = ["edgecap", "bench", *flags]
        for option, names in (("--model", self.models), ("--compare", self.compare)):
            for name in names:
                words += [option, Path(name).name]
        for runtime in self.runtimes:
            words += ["--runtime", runtime]
        for option, path in (("--clips", self.clips), ("--data", self.data)):
            words += [option, path.name] if path else []
        words += ["--dataset", self.dataset] if self.dataset else []
        words += ["--rounds", str(self.rounds)] if self.rounds else []
        words += ["--tokens", str(self.tokens)] if self.tokens != TOKENS else []
        words += ["--starts", str(self.starts)] if self.starts != 7 else []
        words += ["--threads", str(self.threads)] if self.threads != 1 else []
        words += ["--beam", str(self.beam)] if self.beam else []
        words += ["--long", str(self.long_seconds)] if self.long_seconds != 3600 else []
        return shlex.join([*words, *(["--even-busy"] if self.even_busy else [])])


@dataclass(frozen=True)
class Outcome:
    """What came of it, and how it is shown and written."""

    page: Page
    write: Callable[[Path], None]
    draw: Draw
    partial: bool


def figures(request: Request, watch: load.Watch, progress: Progress) -> Outcome:
    """The figures of one model. Raises EdgecapError."""
    result = _result(request, watch, progress)
    return Outcome(figures_page(result), partial(write_result, result=result), partial(draw, result), result.partial)


def _result(request: Request, watch: load.Watch, progress: Progress) -> Result:
    plan = FiguresPlan(
        model=request.models[0] if request.models else None,
        clips=request.clips,
        rounds=request.rounds or ROUNDS,
        starts=request.starts,
        threads=request.threads,
        cores=load.cores(request.threads),
        beam=request.beam,
        long_seconds=request.long_seconds,
    )
    date = now()
    measured = measure(plan, progress)
    watch.end()
    return Result(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        date=date,
        command=request.command(),
        machine=this_machine(),
        versions=versions(),
        subject=measured.subject,
        settings=measured.settings,
        figures=measured.figures,
        others_before=watch.before,
        others_during=watch.during,
        noisy=watch.noisy,
        partial=measured.partial,
    )


def comparison(request: Request, watch: load.Watch, progress: Progress) -> Outcome:
    """Several models, taking turns; where records stand in for the published ones, all that are here.

    Raises EdgecapError.
    """
    recorded = compare.recorded_for(request.compare)
    others = tuple(name for name in request.compare if name not in compare.NAMES)
    models: Sequence[str | None] = request.models or (None,)
    left_out: list[str] = []
    if recorded and not request.models:
        models, left_out = models_here()
    plan = ComparisonPlan(
        models=(*models, *others),
        teacher=compare.TEACHER in request.compare,
        reference=compare.REFERENCE in request.compare,
        tagger=compare.TAGGER in request.compare,
        runtimes=request.runtimes,
        clips=request.clips,
        rounds=request.rounds or CONTEST_ROUNDS,
        tokens=request.tokens,
        beam=request.beam or BEAM,
        threads=request.threads,
        cores=load.cores(request.threads),
        all_cores=load.all_cores(),
    )
    contest = compare.run(plan, recorded, watch, command=request.command(), progress=progress)
    contest = replace(contest, left_out=[*left_out, *contest.left_out])
    return Outcome(
        comparison_page(contest),
        partial(write_comparison, contest=contest),
        partial(draw_contest, contest),
        contest.partial,
    )


def growth(request: Request, watch: load.Watch, progress: Progress) -> Outcome:
    """Cost as work grows. Raises EdgecapError."""
    from edgecap_bench.scaling import results as found
    from edgecap_bench.scaling.growth import GrowthPlan, measure_growth
    from edgecap_bench.scaling.report import draw as draw_growth
    from edgecap_bench.scaling.report import growth_page

    plan = GrowthPlan(
        model=request.models[0] if request.models else None,
        clips=request.clips,
        rounds=request.rounds or GROWTH_ROUNDS,
        tokens=request.tokens,
        threads=request.threads,
        cores=load.cores(request.threads),
        all_cores=load.all_cores(),
        hour_seconds=request.long_seconds,
    )
    date = now()
    grown = measure_growth(plan, progress)
    watch.end()
    result = found.Growth(
        format=found.FORMAT,
        format_version=found.FORMAT_VERSION,
        date=date,
        command=request.command("--growth"),
        machine=this_machine(),
        versions=versions(),
        subject=grown.subject,
        threads=plan.threads,
        rounds=plan.rounds,
        tokens=plan.tokens,
        clips=grown.clips,
        curves=grown.curves,
        hour=grown.hour,
        before=grown.before,
        after=grown.after,
        energy=grown.energy,
        others_before=watch.before,
        others_during=watch.during,
        noisy=watch.noisy,
        partial=grown.partial,
        left_out=grown.left_out,
    )
    return Outcome(
        growth_page(result), partial(found.write_growth, growth=result), partial(draw_growth, result), result.partial
    )


def quality(request: Request, watch: load.Watch, progress: Progress) -> Outcome:
    """Evaluation beside speed. Raises EdgecapError."""
    from edgecap_bench.quality import results as found
    from edgecap_bench.quality.quality import QualityPlan, measure_quality
    from edgecap_bench.quality.report import draw as draw_quality
    from edgecap_bench.quality.report import quality_page

    assert request.data is not None  # the command line has seen to it
    plan = QualityPlan(
        models=(*(request.models or (None,)), *request.compare),
        runtimes=request.runtimes,
        data=request.data,
        dataset=request.dataset,
        beam=request.beam,
        threads=request.threads,
        cores=load.cores(request.threads),
    )
    date = now()
    judged = measure_quality(plan, progress)
    watch.end()
    result = found.Quality(
        format=found.FORMAT,
        format_version=found.FORMAT_VERSION,
        date=date,
        command=request.command("--quality"),
        machine=this_machine(),
        versions=versions("torch", "aac-metrics"),
        data=request.data.name,
        clips=judged.clips,
        skipped=judged.skipped,
        threads=plan.threads,
        beam=plan.beam,
        models=judged.models,
        others_before=watch.before,
        others_during=watch.during,
        noisy=watch.noisy,
        partial=judged.partial,
        left_out=judged.left_out,
    )
    return Outcome(
        quality_page(result),
        partial(found.write_quality, quality=result),
        partial(draw_quality, result),
        result.partial,
    )


def submission(request: Request, watch: load.Watch, progress: Progress) -> Outcome:
    """A board's file: all models that are here in turns, and the figures of the first. Raises EdgecapError."""
    from edgecap_bench.boards import submission as found
    from edgecap_bench.boards.report import submission_page
    from edgecap_bench.candidates.lineup import LineUp

    models, left_out = (list(request.models), []) if request.models else models_here()
    plan = ComparisonPlan(
        models=tuple(models),
        clips=request.clips,
        rounds=request.rounds or CONTEST_ROUNDS,
        tokens=request.tokens,
        beam=request.beam or BEAM,
        threads=request.threads,
        cores=load.cores(request.threads),
        all_cores=load.all_cores(),
    )
    recorded = compare.recorded_published()
    contest = compare.run(plan, recorded, watch, command=request.command("--submit-file", "FILE"), progress=progress)
    contest = replace(contest, left_out=[*left_out, *contest.left_out])
    measured, said = None, []
    try:
        if not contest.partial:
            lineup = LineUp()
            for model in models:
                lineup.add_bundle(find_model(model))
            graphs = {entrant.key: entrant.graphs for entrant in contest.entrants if entrant.recorded is None}
            said = found.said_by(
                [(entry.key, Path(entry.path), graphs[entry.key]) for entry in lineup.entries], progress
            )
            measured = _result(replace(request, models=(models[0],)), watch, progress)
    except KeyboardInterrupt:
        pass  # what was measured so far is kept: without figures the file is partial
    watch.end()
    result = found.Submission(
        format=found.FORMAT, format_version=found.FORMAT_VERSION, contest=contest, figures=measured, said=said
    )
    return Outcome(
        submission_page(result),
        partial(found.write_submission, submission=result),
        partial(draw_contest, contest),
        result.partial,
    )


MODES: dict[Name, Callable[[Request, load.Watch, Progress], Outcome]] = {
    "figures": figures,
    "comparison": comparison,
    "growth": growth,
    "quality": quality,
    "submission": submission,
}

CALLED: dict[Name, str] = {
    "figures": "the figures of one model",
    "comparison": "a comparison",
    "growth": "--growth",
    "quality": "--quality",
    "submission": "--submit-file",
}
"""What was asked for, in the words of the command line."""
WITHOUT: dict[Name, tuple[str, ...]] = {
    "figures": ("dataset",),
    "comparison": ("dataset",),
    "growth": ("dataset", "beam"),
    "quality": ("clips", "rounds"),
    "submission": ("dataset", "compare", "runtimes"),
}
"""What of a `Request` a mode has no use for; said on a command line, it is refused and not passed over in silence."""
OPTIONS = {"runtimes": "runtime"}
"""Part of a `Request` → its option, where that is called otherwise."""


def check(mode: Name, request: Request) -> None:
    """Say what cannot work before the machine is watched and anything runs. Raises EdgecapError."""
    if request.clips is not None:
        load_clips(request.clips, 16_000, 1)
    if mode == "comparison":
        compare.recorded_for(request.compare)
    if mode == "growth" and len(request.models) > 1:
        raise EdgecapError("--growth takes one --model at a time; run it once for each")
    if mode == "quality":
        from edgecap_bench.quality.quality import check_scoring

        published = [name for name in request.compare if name in compare.NAMES]
        if published:
            raise EdgecapError(
                f"--quality scores bundles, and {published[0]} has no weights here that could caption; "
                "its published figures are in the table without being asked for"
            )
        check_scoring()
