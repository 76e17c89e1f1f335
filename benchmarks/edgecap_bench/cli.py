"""`edgecap bench`: how fast, how much memory, against whom, on this machine. Runs on a plain install."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from edgecap.cli.console import say
from edgecap.cli.options import BeamSize, model_names
from edgecap_bench import commands as modes
from edgecap_bench.candidates.variants import RUNTIMES
from edgecap_bench.commands import CONTEST_ROUNDS, GROWTH_ROUNDS, ROUNDS, TOKENS, Request
from edgecap_bench.harness import load
from edgecap_bench.reports import output


def bench(
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FOLDER",
            autocompletion=model_names,
            help="Model as edgecap models "
            "lists it, or a bundle's folder. Several are compared. [default: the one in the package]",
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            "--compare",
            metavar="NAME",
            help="Run against others, in turns: teacher (HTSAT-BART), reference "
            "(the student as published), tagger (tags, no sentence), or a bundle's name or folder. May be "
            "given several times. Without PyTorch, recorded figures stand in for the first three.",
        ),
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            metavar="NAME",
            help="Compare the model in every precision for onnx, executorch, "
            "litert or all; what is not there is exported once, where the extra is.",
        ),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option("--clips", metavar="FOLDER", help="Sounds to measure on. [default: four that are computed]"),
    ] = None,
    growth: Annotated[
        bool, typer.Option("--growth", help="Cost as work grows: length, beams, streams, threads, an hour of audio.")
    ] = False,
    quality: Annotated[
        bool, typer.Option("--quality", help="CIDEr-D beside size and time, with --data (extra train).")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="CSV",
            help="Recordings with captions, for --quality: columns file, caption_1 … caption_5 (and dataset).",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="NAME", help="Only rows whose dataset column begins so.")
    ] = None,
    submit_file: Annotated[
        Path | None,
        typer.Option(
            "--submit-file",
            metavar="FILE",
            help="All of it for this board in one file, to send in: every "
            "model that is here, its captions, times, heat; takes a few minutes.",
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds",
            min=1,
            metavar="N",
            help=f"Captions to time. [default: {ROUNDS}; compared {CONTEST_ROUNDS}, with --growth {GROWTH_ROUNDS}]",
        ),
    ] = None,
    tokens: Annotated[
        int, typer.Option("--tokens", min=1, max=20, metavar="N", help="Tokens of every caption that is compared.")
    ] = TOKENS,
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
        Path | None, typer.Option("--report", metavar="FILE", help="The tables as a .md or .html file.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="The result as a picture (extra plot).")
    ] = None,
    even_busy: Annotated[
        bool, typer.Option("--even-busy", help="Measure on a busy machine too; what comes out is marked as no result.")
    ] = False,
) -> None:
    """Measure on this machine: one model's stages, start and memory, or several models in turns, or more.

    Everything runs on as many cores as --threads says, in processes of its own. If other programs take more than a
    tenth of a core, nothing is measured, or what was measured is no result: exit code 10. Ctrl-C keeps what was
    measured until then, marked partial: exit code 130.

    \b
    Examples:
      edgecap bench
      edgecap bench --clips examples --json result.json
      edgecap bench --compare teacher --compare reference --runtime all --report comparison.html --plot comparison.png
      edgecap bench --growth --plot growth.png
      edgecap bench --quality --data captions.csv --plot quality.png
      edgecap bench --submit-file my-board.json
    """
    request = Request(
        models=tuple(model or ()),
        compare=tuple(compare or ()),
        runtimes=_runtimes(runtime or []),
        clips=clips,
        data=data,
        dataset=dataset,
        rounds=rounds,
        tokens=tokens,
        starts=starts,
        threads=threads,
        beam=beam,
        long_seconds=long,
        even_busy=even_busy,
    )
    mode = _mode(request, growth=growth, quality=quality, submit=submit_file is not None)
    output.check((json, submit_file), report, plot)
    try:
        load.cores(threads)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--threads") from error
    modes.check(mode, request)
    watch = load.Watch(even_busy)
    with _progress() as progress:
        outcome = modes.MODES[mode](request, watch, progress)
    try:
        for file in filter(None, (json, submit_file)):
            outcome.write(file)
    finally:  # what took minutes is shown even where the disk is full
        output.show(outcome.page)
    if watch.during is None:
        say("note", "this system does not tell what other programs take, so make sure that the machine was idle")
    output.keep(outcome.page, report, plot, outcome.draw)
    if outcome.partial:
        say("note", "cut short; what was measured until then is shown and kept as partial")
        raise typer.Exit(130)
    watch.refuse_if_disturbed()


def _mode(request: Request, *, growth: bool, quality: bool, submit: bool) -> modes.Name:
    """What was asked for. Raises BadParameter for two things at once, and for options that it does not have."""
    asked: list[modes.Name] = []
    asked += ["growth"] if growth else []
    asked += ["quality"] if quality else []
    asked += ["submission"] if submit else []
    several = bool(request.compare or request.runtimes or len(request.models) > 1)
    if len(asked) > 1 or (asked == ["growth"] and several):
        raise typer.BadParameter("one thing at a time: --growth, --quality, --submit-file, or a comparison")
    if quality != (request.data is not None):
        raise typer.BadParameter("--quality needs --data, and --data is for --quality", param_hint="--data")
    mode = asked[0] if asked else "comparison" if several else "figures"
    for name in modes.WITHOUT[mode]:
        if getattr(request, name) != getattr(Request(), name):
            option = modes.OPTIONS.get(name, name)
            raise typer.BadParameter(
                f"--{option} says nothing to {modes.CALLED[mode]}; leave it out", param_hint=f"--{option}"
            )
    return mode


def _runtimes(given: list[str]) -> tuple[str, ...]:
    for name in given:
        if name != "all" and name not in RUNTIMES:
            raise typer.BadParameter(
                f"{name!r} is no runtime; use {', '.join(RUNTIMES)} or all", param_hint="--runtime"
            )
    return tuple(name for name in RUNTIMES if name in given or "all" in given)


@contextmanager
def _progress() -> Iterator[modes.Progress]:
    """A progress bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True, refresh_per_second=2
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
