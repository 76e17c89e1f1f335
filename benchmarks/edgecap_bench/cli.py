"""`edgecap bench`: how fast, how much memory, on this machine."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from edgecap.cli.console import say
from edgecap.cli.options import BeamSize, Model
from edgecap_bench import compare as comparison
from edgecap_bench import load, output
from edgecap_bench.contest_report import contest_page
from edgecap_bench.contest_results import write_contest
from edgecap_bench.figures import Plan, Progress, measure
from edgecap_bench.figures_report import figures_page
from edgecap_bench.machine import this_machine, versions
from edgecap_bench.results import FORMAT, FORMAT_VERSION, Result, write_result

ROUNDS, CONTEST_ROUNDS = 60, 12


def bench(
    *,
    model: Model = None,
    clips: Annotated[
        Path | None,
        typer.Option("--clips", metavar="FOLDER", help="Sounds to measure on. [default: four that are computed]"),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option("--compare", metavar="NAME", help="Run against others, in turns: teacher (HTSAT-BART), reference "
                     "(the student as published), or a bundle's name or folder. May be given several times."),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", min=1, metavar="N", help=f"Captions to time. [default: {ROUNDS}; with --compare "
                     f"{CONTEST_ROUNDS}]"),
    ] = None,
    tokens: Annotated[
        int, typer.Option("--tokens", min=1, max=20, metavar="N", help="Tokens of every caption, with --compare.")
    ] = 12,
    starts: Annotated[int, typer.Option("--starts", min=1, metavar="N", help="New processes to time.")] = 7,
    threads: Annotated[int, typer.Option("--threads", "-t", min=1, metavar="N", help="Processor threads.")] = 1,
    beam: BeamSize = None,
    long: Annotated[
        int, typer.Option("--long", min=0, metavar="SECONDS", help="Length of the long file; 0 leaves it out.")
    ] = 3600,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the result, with every single time, to FILE.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="With --compare: the tables as a .md or .html file.")
    ] = None,
    even_busy: Annotated[
        bool, typer.Option("--even-busy", help="Measure on a busy machine too; what comes out is marked as no result.")
    ] = False,
) -> None:
    """Measure the stages of a caption, the start of the program, and its memory, on this machine.

    Everything runs on as many cores as --threads says, in processes of its own; the stages take turns. If other
    programs take more than a tenth of a core, nothing is measured, or what was measured is no result: exit code 10.

    \b
    Examples:
      edgecap bench
      edgecap bench --clips examples --json result.json
      edgecap bench --model ./my-bundle --threads 2 --long 0
      edgecap bench --compare teacher --compare reference --report comparison.html
    """
    output.check(json, report, None)
    if compare:
        _compare(compare, model, clips=clips, rounds=rounds or CONTEST_ROUNDS, tokens=tokens, beam=beam or 3,
                 threads=threads, json=json, report=report, even_busy=even_busy)
        return
    rounds = rounds or ROUNDS
    try:
        plan = Plan(model=model, clips=clips, rounds=rounds, starts=starts, threads=threads, cores=load.cores(threads),
                    beam=beam, long_seconds=long)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--threads") from error
    before = load.look()
    if not even_busy:
        load.refuse_if_busy(before)
    date = datetime.now().astimezone().isoformat(timespec="seconds")
    meter = load.LoadMeter()
    with _progress() as progress:
        subject, settings, figures = measure(plan, progress)
    during = meter.others()
    result = Result(
        format=FORMAT, format_version=FORMAT_VERSION, date=date, command=_command(plan, even_busy),
        machine=this_machine(), versions=versions(), subject=subject, settings=settings, figures=figures,
        others_before=before, others_during=during,
        noisy=max(before or 0.0, during or 0.0) > load.MOST_OTHERS,
    )  # fmt: skip
    if json:
        write_result(json, result)
    page = figures_page(result)
    output.show(page)
    if during is None:
        say("note", "this system does not tell what other programs take, so make sure that the machine was idle")
    output.keep(page, report, None, None)
    if not even_busy:
        load.refuse_if_busy(during)


def _compare(
    others: list[str], model: str | None, *, clips: Path | None, rounds: int, tokens: int, beam: int, threads: int,
    json: Path | None, report: Path | None, even_busy: bool,
) -> None:  # fmt: skip
    """A comparison: checked, run, shown, kept; exit code 130 for one that Ctrl-C cut short."""
    try:
        load.cores(threads)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--threads") from error
    comparison.check(others)
    words = ["edgecap", "bench", *(["--model", Path(model).name] if model else [])]
    for name in others:
        words += ["--compare", Path(name).name]
    words += ["--clips", clips.name] if clips else []
    words += ["--rounds", str(rounds), "--tokens", str(tokens), "--beam", str(beam), "--threads", str(threads)]
    words += ["--even-busy"] if even_busy else []
    with _progress() as progress:
        contest = comparison.run(
            others, model, clips=clips, rounds=rounds, tokens=tokens, beam=beam, threads=threads, even_busy=even_busy,
            command=shlex.join(words), progress=progress,
        )  # fmt: skip
    if json:
        write_contest(json, contest)
    page = contest_page(contest)
    output.show(page)
    output.keep(page, report, None, None)
    if contest.partial:
        say("note", "cut short; what was measured until then is shown and kept as partial")
        raise typer.Exit(130)
    if not even_busy:
        load.refuse_if_busy(contest.others_during)


def _command(plan: Plan, even_busy: bool) -> str:
    """The command line that measures this again, without folders of this machine."""
    words = ["edgecap", "bench"]
    words += ["--model", Path(plan.model).name] if plan.model else []
    words += ["--clips", plan.clips.name] if plan.clips else []
    words += ["--rounds", str(plan.rounds), "--starts", str(plan.starts), "--threads", str(plan.threads)]
    words += ["--beam", str(plan.beam)] if plan.beam else []
    words += ["--long", str(plan.long_seconds)] + (["--even-busy"] if even_busy else [])
    return shlex.join(words)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A progress bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True,
                  refresh_per_second=2) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
