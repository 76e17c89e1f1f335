"""`edgecap export`: a model to bundles of any runtime and precision. Loads without torch, so that the command line can
list the command where it cannot run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecap.cli.console import say, table, write
from edgecap.errors import MissingDependencyError, OutputError, VerificationError, install_extra
from edgecap.util.files import to_json, write_atomically
from edgecap_export.cli.export_web import export_web
from edgecap_export.output_paths import check_free, check_writable
from edgecap_export.runtimes import LOWERINGS, search_place, untested_packages
from edgecap_export.web.onnxruntime_web import OPTION, PACKAGE

if TYPE_CHECKING:
    from edgecap.bundle.manifest import EncoderInput, Precision, Search
    from edgecap_export.bundle.exporter import Exporter

FRONT_ENDS: dict[str, EncoderInput] = {"outside": "log_mel", "in-graph": "waveform"}
SEARCHES: dict[str, Search] = {"outside": "outside", "in-graph": "in-graph"}
"""The places that the options name."""


def export(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL_OR_CHECKPOINT]",
            help="A bundle with float weights (its name or folder) or a checkpoint. [default: the default model]",
            show_default=False,
        ),
    ] = None,
    *,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            metavar="RUNTIME",
            help=f"{', '.join(LOWERINGS)} or all; may be repeated. [default: onnx]",
            show_default=False,
        ),
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32", help="Float32, as trained. [default]")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Weights in float16: half the size.")] = False,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Quantised to int8 where that speeds inference up: a quarter of the size, faster."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder of the bundle; of several bundles, the folder that contains them. "
            "[default: NAME-RUNTIME-PRECISION]",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="FOLDER",
            help="Recordings to measure the ranges for int8 on, 200 or more. "
            "[default: the ranges stored with the weights]",
        ),
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(
            "--verify",
            metavar="CSV",
            help="Recordings with captions (columns file, caption_1 ...): the "
            "export must keep 97 % of float32's CIDEr-D on them.",
        ),
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option("--vocabulary", metavar="PATH", help="Of a checkpoint that contains none.")
    ] = None,
    front_end: Annotated[
        str,
        typer.Option(
            "--front-end",
            metavar="PLACE",
            help="outside (NumPy computes the log-mel) or in-graph (the graph takes the waveform).",
        ),
    ] = "outside",
    search: Annotated[
        str | None,
        typer.Option(
            "--search",
            metavar="PLACE",
            help="in-graph (the decoder's graph gives whole captions) or outside (one step). "
            "[default: in-graph where the runtime can]",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        bool, typer.Option("--weights", help="Keep the float weights that the bundle has, to be exported from again.")
    ] = False,
    web: Annotated[
        bool, typer.Option("--web", help="Write a page that runs the bundle in a browser, as a folder of plain files.")
    ] = False,
    onnxruntime_web: Annotated[
        Path | None,
        typer.Option(
            OPTION,
            metavar="PATH",
            help=f"Of --web: a copy of {PACKAGE}, its .tgz or folder. [default: downloaded by npm, once]",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            "-f",
            help="Replace an existing bundle, write one that fails its checks, and use toolchains of an untested "
            "version.",
        ),
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Also write the reports as one HTML page.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Only rank the layers by the error that int8 causes; write nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Export a model for another runtime or precision.

    It gives the same captions from a smaller, faster bundle for edgecap caption --model DIR.

    The result is compared with PyTorch and with the float32 ONNX bundle before it is written; report.json inside the
    bundle holds everything that was measured. Several runtimes and precisions may be given at once.

    \b
    Examples:
      edgecap export --int8
      edgecap export student.safetensors --int8 --calibration recordings -o small --verify captions.csv
      edgecap export --runtime all --fp32 --fp16 --int8 -o bundles
      edgecap export --int8 --explain
      edgecap export --web -o site
    """
    if web or onnxruntime_web is not None:
        others: dict[str, object] = {"--runtime": runtime, "--fp32": fp32, "--fp16": fp16, "--int8": int8}
        others |= {"--calibration": calibration, "--verify": verify, "--vocabulary": vocabulary, "--report": report}
        others |= {"--explain": explain, "--search": search, "--weights": weights, OPTION: not web}
        given = [name for name, value in others.items() if value]
        export_web(model, output, runtime=onnxruntime_web, others=given, force=force, json=json)
        return
    runtimes, precisions = _runtimes(runtime or ["onnx"]), _precisions(fp32, fp16, int8)
    _check_place("front end", front_end)
    _check_place("search", search or "outside")
    place = SEARCHES[search] if search else None
    _check_options(precisions, calibration, explain, report)
    several = len(runtimes) * len(precisions) > 1
    if output is not None and not several and not explain:
        check_free(output, force)
    for name in runtimes:
        search_place(name, place)
        _check_toolchain(name, force)
    try:
        from edgecap_export.bundle.exporter import Exporter
        from edgecap_export.bundle.sources import open_source
    except ImportError as error:
        raise MissingDependencyError.for_extra("edgecap export", "export") from error
    source = open_source(model, vocabulary, floats=weights)
    for note in source.notes:
        say("warning", note)
    folders: dict[tuple[str, Precision], Path] = {}
    for pair in itertools.product(runtimes, precisions):
        name = f"{source.name}-{'-'.join(pair)}"
        folders[pair] = (output or Path()) / name if several or output is None else output
    for folder in () if explain else folders.values():
        check_free(folder, force)
        check_writable(folder)
    if report is not None:
        check_writable(report)
    exporter = Exporter(source, verify, FRONT_ENDS[front_end], place, notify=lambda step: say("note", f"{step} …"))
    _report_skipped(exporter.skipped)
    if "int8" in precisions and calibration is not None:
        for warning in exporter.calibrate(calibration):
            say("warning", warning)
    if explain:
        _explain(exporter, runtimes[0], json)
    else:
        _export(exporter, folders, force, report, json)


def _report_skipped(reasons: Sequence[str]) -> None:
    """Name the recordings of --verify that could not be read."""
    for reason in reasons:
        say("skipped", reason)
    if reasons:
        say("note", f"{len(reasons)} recordings of --verify could not be read; the scores are of the others")


def _export(
    exporter: Exporter, folders: dict[tuple[str, Precision], Path], force: bool, page: Path | None, json: bool
) -> None:
    """Write every bundle and print its report. If one fails its verification, the others are still written."""
    from edgecap_export.bundle.report_page import report_page

    documents, reports, failed = [], [], []
    for (runtime, precision), folder in folders.items():
        try:
            bundle, report = exporter.export(runtime, precision, folder, force=force)
        except VerificationError as error:
            if len(folders) == 1:
                raise
            say("error", f"{runtime} in {precision}: {error}")
            failed.append(f"{runtime} in {precision}")
            continue
        if report.failure:
            say("warning", f"written although {report.failure}")
        reports.append(report)
        documents.append({"bundle": str(folder), "bytes": bundle.size, "report": report.document()})
        if not json:
            for line in (*report.lines(), str(folder), ""):
                write(line)
    if page is not None and reports:
        write_atomically(page, report_page(reports))
    if json:
        write(to_json({"exports": documents} if len(folders) > 1 else documents[0]))
    if failed:
        raise VerificationError(
            f"{len(failed)} of {len(folders)} exports failed their verification and were not "
            f"written ({', '.join(failed)}); --force writes them nevertheless"
        )


def _check_options(precisions: list[Precision], calibration: Path | None, explain: bool, report: Path | None) -> None:
    """Raise BadParameter for options that have no effect together, OutputError for a page that is a folder."""
    if calibration is not None and "int8" not in precisions:
        raise typer.BadParameter("only int8 has ranges to measure; add --int8", param_hint="--calibration")
    if report is not None and explain:
        raise typer.BadParameter("--explain exports nothing, so there is no page to write", param_hint="--report")
    if report is not None and report.is_dir():
        raise OutputError(f"{report} is a folder; name a file for the page")
    if explain and "int8" not in precisions:
        raise typer.BadParameter("only int8 has layers to rank; add --int8", param_hint="--explain")


def _runtimes(names: list[str]) -> list[str]:
    """The chosen runtimes, each once. Raises BadParameter for an unknown one."""
    for name in names:
        if name != "all" and name not in LOWERINGS:
            raise typer.BadParameter(
                f"unknown runtime {name!r}; use {', '.join(LOWERINGS)} or all", param_hint="--runtime"
            )
    return [name for name in LOWERINGS if name in names or "all" in names]


def _precisions(fp32: bool, fp16: bool, int8: bool) -> list[Precision]:
    wanted: dict[Precision, bool] = {"fp32": fp32, "fp16": fp16, "int8": int8}
    return [name for name, chosen in wanted.items() if chosen] or ["fp32"]


def _check_place(what: str, place: str) -> None:
    if place not in SEARCHES:
        option = f"--{what.replace(' ', '-')}"
        reason = f"unknown place {place!r} for the {what}; use {' or '.join(SEARCHES)}"
        raise typer.BadParameter(reason, param_hint=option)


def _check_toolchain(runtime: str, force: bool) -> None:
    """Raise MissingDependencyError for a toolchain that is not installed, or untested and not forced."""
    untested = untested_packages(runtime)
    if untested and not force:
        raise MissingDependencyError(
            f"{'; '.join(untested)}; add --force to try it anyway, or type: {install_extra(LOWERINGS[runtime].extra)}"
        )
    for warning in untested:
        say("warning", warning)


def _explain(exporter: Exporter, runtime: str, json: bool) -> None:
    """Print the error that int8 causes in each layer, and what stays in float for a runtime."""
    from edgecap_export.bundle.report import layer_lines

    layers, stays = exporter.explained(runtime)
    if json:
        write(to_json({"layers": [{"node": layer.node, "error": layer.error} for layer in layers], "float": stays}))
        return
    for line in layer_lines(layers, "int8", len(layers)):
        write(line)
    write("")
    for line in table(["float layer", "why"], [[name, reason] for name, reason in stays.items()]):
        write(line)
