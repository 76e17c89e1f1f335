"""`edgecap bench`: speed and memory on this machine, alone or against other models. Runs on a plain install."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from edgecap.cli.console import say
from edgecap.cli.options import BeamSize, model_names
from edgecap.inference.session import DEFAULT_THREADS, WHY_ONE_THREAD
from edgecap.runtimes import RUNTIMES
from edgecap.util.progress import progress_bar
from edgecap_bench.commands import (
    COMMANDS,
    COMPARISON_ROUNDS,
    GROWTH_ROUNDS,
    ROUNDS,
    TOKENS,
    Name,
    Request,
    check,
    option_of,
)
from edgecap_bench.harness import load
from edgecap_bench.reports import output
from edgecap_bench.reports.measurement import write_measurement
from edgecap_bench.reports.output import Clips, EvenBusy, JsonFile
from edgecap_bench.reports.registry import page_of, plot_of
from edgecap_bench.reports.tables import threads as in_words

CHOSEN = ", as --threads says; the default is one"


def bench(
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FOLDER",
            autocompletion=model_names,
            help="Model as edgecap models lists it, or a bundle's folder. Several are compared. "
            "[default: the one in the package]",
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            "--compare",
            metavar="NAME",
            help="Compare with others, in turns: teacher (HTSAT-BART), reference (the student as published), or a "
            "bundle's name or folder. Repeatable. Without PyTorch, recorded figures are used for the first two.",
        ),
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            metavar="NAME",
            help=f"Compare the model in every precision for {', '.join(RUNTIMES)} or all; what does not exist is "
            "exported once, where the extra is installed.",
        ),
    ] = None,
    clips: Clips = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Where the time of a caption goes, layer by layer, beside the processor's limit (extra bench).",
        ),
    ] = False,
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
        str | None, typer.Option("--dataset", metavar="NAME", help="Only rows whose dataset begins with NAME.")
    ] = None,
    submit_file: Annotated[
        Path | None,
        typer.Option(
            "--submit-file",
            metavar="FILE",
            help="Measure every installed model on this board and write one file to send in: captions, times, heat; "
            "takes a few minutes.",
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds",
            min=1,
            metavar="N",
            help=f"Captions to time. [default: {ROUNDS}; compared {COMPARISON_ROUNDS}, with --growth {GROWTH_ROUNDS}]",
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
    json: JsonFile = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="The tables as a .md or .html file.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="The result as a picture (extra plot).")
    ] = None,
    even_busy: EvenBusy = False,
) -> None:
    """Measure speed, memory and quality on this machine.

    Of one model its stages, start and memory; or several models in turns; or more.

    Everything runs in separate processes on as many cores as --threads says. If other programs take more than a tenth
    of a core, nothing is measured, or what was measured is marked as not a result: exit code 10. Ctrl-C keeps what was
    measured until then, marked partial: exit code 130.

    \b
    Examples:
      edgecap bench
      edgecap bench --clips examples --json-file result.json
      edgecap bench --compare teacher --compare reference --runtime all --report comparison.html --plot comparison.png
      edgecap bench --profile --plot profile.png
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
        long=long,
        even_busy=even_busy,
    )
    name = _command(request, profile=profile, growth=growth, quality=quality, submit=submit_file is not None)
    output.check((json, submit_file), report, plot)
    try:
        load.cores(threads)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--threads") from error
    check(name, request)
    watch = load.Watch(even_busy)
    with progress_bar("measuring") as progress:
        measurement = COMMANDS[name].run(request, watch, progress)
    page = page_of(measurement)
    choice = f"{in_words(threads)}{CHOSEN if threads != DEFAULT_THREADS else ''}: {WHY_ONE_THREAD}"
    page = replace(page, notes=[*page.notes, choice])
    try:
        for file in filter(None, (json, submit_file)):
            write_measurement(file, measurement)
    finally:  # what took minutes is shown even where the disk is full
        output.show(page)
    if watch.during is None:
        say("note", "this system does not report the load of other programs, so make sure that the machine was idle")
    output.keep(page, report, plot, partial(plot_of, measurement))
    if measurement.header.partial:
        say("note", "interrupted; what was measured until then is shown and kept as partial")
        raise typer.Exit(130)
    watch.refuse_if_disturbed()


def _command(request: Request, *, profile: bool, growth: bool, quality: bool, submit: bool) -> Name:
    """Which measurement is requested. Raises BadParameter for two at once, and for options that it does not use."""
    flags: dict[Name, bool] = {"profile": profile, "growth": growth, "quality": quality, "submission": submit}
    requested = [name for name, given in flags.items() if given]
    several = bool(request.compare or request.runtimes or len(request.models) > 1)
    if len(requested) > 1 or (requested in (["growth"], ["profile"]) and several):
        raise typer.BadParameter("use one of --profile, --growth, --quality, --submit-file, or a comparison")
    if quality != (request.data is not None):
        raise typer.BadParameter("--quality and --data are used together", param_hint="--data")
    name = requested[0] if requested else "comparison" if several else "figures"
    for field in COMMANDS[name].unused:
        if getattr(request, field) != getattr(Request(), field):
            option = option_of(field)
            raise typer.BadParameter(f"{COMMANDS[name].title} does not use {option}; leave it out", param_hint=option)
    return name


def _runtimes(names: list[str]) -> tuple[str, ...]:
    for name in names:
        if name != "all" and name not in RUNTIMES:
            raise typer.BadParameter(
                f"unknown runtime {name!r}; use {', '.join(RUNTIMES)} or all", param_hint="--runtime"
            )
    return tuple(name for name in RUNTIMES if name in names or "all" in names)
