"""Command line of the Arm lab."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from edgecap.cli.console import say
from edgecap.errors import EdgecapError, OutputError
from edgecap.runtimes import RUNTIMES
from edgecap.util.files import check_writable
from edgecap_bench.arm.lab import REPOSITORY, LabPlan, chosen_tests, export_bundles, run_lab
from edgecap_bench.arm.report import lab_page
from edgecap_bench.arm.root import make_root
from edgecap_bench.harness.clips import check_clips
from edgecap_bench.reports import output
from edgecap_bench.reports.measurement import write_measurement
from edgecap_bench.reports.output import JsonFile

QUICK_PRECISIONS, PRECISIONS = ("fp32", "int8"), ("fp32", "fp16", "int8")
QUICK_CLIPS, CLIPS = 2, 6


def lab(
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="What CI runs: the tests of arithmetic, fp32 and int8, two clips.")
    ] = False,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            metavar="NAME",
            help=f"Runtime to export the default model for: {', '.join(RUNTIMES)}. Repeatable. [default: all]",
        ),
    ] = None,
    bundle: Annotated[
        list[Path] | None,
        typer.Option(
            "--bundle", metavar="FOLDER", help="Bundle to run instead of exports of the default model. Repeatable."
        ),
    ] = None,
    clips: Annotated[Path, typer.Option("--clips", metavar="FOLDER", help="Sounds to caption.")] = REPOSITORY
    / "examples",
    count: Annotated[
        int | None,
        typer.Option("--count", min=1, metavar="N", help=f"Clips of them. [default: {CLIPS}; quick: {QUICK_CLIPS}]"),
    ] = None,
    tests: Annotated[bool, typer.Option("--tests/--no-tests", help="Run edgecap's runtime tests.")] = True,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--root",
            metavar="FOLDER",
            help="Folder of the arm64 root, kept for later runs. [default: edgecap/arm-lab in the user's cache]",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, metavar="N", help="Emulated processes at a time.")] = len(
        os.sched_getaffinity(0)
    ),
    patience: Annotated[
        float, typer.Option("--patience", min=1, metavar="SECONDS", help="Most that one emulated process may take.")
    ] = 3600.0,
    json: JsonFile = None,
) -> None:
    """Run edgecap's runtime tests and bundles on emulated Raspberry Pis and compare the captions with this machine's.

    Exit code 1 where a test failed, a bundle did not run, or a float32 bundle gave other captions.
    """
    if json is not None:
        check_writable(json)
    if bundle and runtime:
        raise typer.BadParameter("use --bundle or --runtime, not both", param_hint="--runtime")
    for name in runtime or ():
        if name not in RUNTIMES:
            raise typer.BadParameter(f"unknown runtime {name!r}; use {', '.join(RUNTIMES)}", param_hint="--runtime")
    if len({path.resolve().name for path in bundle or ()}) < len(bundle or ()):
        raise typer.BadParameter("two bundles have the same name; rename the folder of one", param_hint="--bundle")
    check_clips(clips)  # before minutes are spent on the root
    folder = folder or cache()
    files = chosen_tests(quick) if tests else ()
    bundles = tuple(bundle or ())
    if not bundles:
        precisions, runtimes = QUICK_PRECISIONS if quick else PRECISIONS, runtime or list(RUNTIMES)
        with ThreadPoolExecutor(1) as pool:
            fetching = pool.submit(make_root, folder, _note, runtimes)  # it downloads while the exports compute
            bundles = export_bundles(folder / "bundles", runtimes, precisions, _note)
            fetching.result()
    plan = LabPlan(
        folder=folder,
        bundles=bundles,
        clips=clips,
        count=count or (QUICK_CLIPS if quick else CLIPS),
        tests=files,
        jobs=jobs,
        patience=patience,
    )
    measurement = run_lab(plan, _command(), _note)
    output.show(lab_page(measurement))
    if json is not None:
        write_measurement(json, measurement)
    if measurement.header.partial:
        say("note", "interrupted; the results until then are shown and kept as partial")
        raise typer.Exit(130)
    faults = list(measurement.body.faults())
    for fault in faults:
        say("error", fault)
    if faults:
        raise typer.Exit(1)


def cache() -> Path:
    """The default folder of the root."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgecap" / "arm-lab"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(lab)
    try:
        app(list(sys.argv[1:] if arguments is None else arguments), prog_name="benchmarks/arm/lab.py")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except EdgecapError as error:
        say("error", str(error))
        return error.exit_code
    except OSError as error:
        say(
            "error",
            f"the Arm lab cannot use its folder ({error}); it takes 2 GB while it is made: "
            "free space, or use another with --root",
        )
        return OutputError.exit_code
    return 0


def _note(message: str) -> None:
    say("note", message)


def _command() -> str:
    """The command line, without the folders of this machine."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return shlex.join(["python", "benchmarks/arm/lab.py", *words])
