"""`edgecap export`: a model to a bundle of another precision. Loads without torch, as `edgecap_export.cli` does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecap.cli.console import as_json, say, table, write
from edgecap.errors import EdgecapError, MissingDependencyError, OutputError

if TYPE_CHECKING:
    from edgecap_export.exports import Report
    from edgecap_export.layers import LayerError

RUNTIMES = ("onnx",)
SHOWN_LAYERS = 10


def export(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL_OR_CHECKPOINT]", help="A bundle with float weights (its name or folder) or a "
                       "checkpoint. [default: the default model]", show_default=False),
    ] = None,
    *,
    runtime: Annotated[str, typer.Option("--runtime", metavar="RUNTIME", help="onnx is the one there is so far.")] = (
        "onnx"
    ),
    fp32: Annotated[bool, typer.Option("--fp32", help="Float32, as trained. [default]")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Weights in float16: half the size, the same speed.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Bytes where they pay: a quarter of the size, faster.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder of the bundle. [default: NAME-PRECISION]"),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", metavar="FOLDER", help="Recordings to measure the ranges for int8 on, 200 or "
                     "more. [default: the ranges stored with the weights]"),
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option("--verify", metavar="CSV", help="Recordings with captions (columns file, caption_1 ...): the "
                     "export must keep 97 % of float32's CIDEr-D on them."),
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option("--vocabulary", metavar="PATH", help="Of a checkpoint that holds none.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace a bundle that is there, and write one that fails its checks.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Only rank the layers by what int8 does to them; write nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Export a model: the same captions from a smaller, faster bundle for edgecap caption --model DIR.

    The result is compared with PyTorch and with its float32 original before it is written; report.json inside the
    bundle tells everything that was measured.

    \b
    Examples:
      edgecap export --int8
      edgecap export student.safetensors --int8 --calibration recordings -o small --verify captions.csv
      edgecap export --int8 --explain
    """
    precision = _precision(fp32, fp16, int8)
    if runtime not in RUNTIMES:
        raise typer.BadParameter(f"{runtime!r} is no runtime that this edgecap exports for; use {', '.join(RUNTIMES)}",
                                 param_hint="--runtime")
    _check_free(output, force or explain)
    try:
        from edgecap_export.exports import Export
        from edgecap_export.recipes import recipe_for
        from edgecap_export.sources import open_source
    except ImportError as error:
        raise MissingDependencyError.for_extra("edgecap export", "export") from error
    source = open_source(model, vocabulary)
    for note in source.notes:
        say("warning", note)
    output = output or Path(f"{source.name}-{precision}")
    _check_free(output, force or explain)
    recipe = recipe_for(precision, source.student.config.encoder)
    work = Export(source, recipe, lambda step: say("note", f"{step} …"))
    work.calibrate(calibration)
    for warning in work.warnings:
        say("warning", warning)
    if explain:
        _explain(work.ranking(), work.stays_float(), json)
        return
    bundle, report = work.run(output, references=verify, force=force)
    if report.failure:
        say("warning", f"written although {report.failure}")
    if json:
        write(as_json({"bundle": str(output), "bytes": bundle.size, "report": report.document()}))
        return
    for line in report_lines(report):
        write(line)
    write(str(output))


def _precision(fp32: bool, fp16: bool, int8: bool) -> str:
    chosen = [name for name, wanted in (("fp32", fp32), ("fp16", fp16), ("int8", int8)) if wanted]
    if len(chosen) > 1:
        raise typer.BadParameter(f"one precision at a time, not {' and '.join(chosen)}",
                                 param_hint=f"--{chosen[1]}")
    return chosen[0] if chosen else "fp32"


def _check_free(output: Path | None, force: bool) -> None:
    """Raise OutputError for a folder that is there, before the work begins."""
    if output is not None and not force and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(f"{output} exists; name another folder with -o, or add --force to replace a bundle")


def report_lines(report: Report) -> list[str]:
    """A report for people."""
    lines = [f"{report.name}, {report.recipe.name}: {report.size_after / 1e6:.1f} MB, "
             f"{report.size_after / report.size_before:.2f} of float32's {report.size_before / 1e6:.1f} MB", ""]
    lines += table(["stage (processor time)", "float32", report.recipe.precision, "ratio"], [
        [stage.name, f"{stage.before:.2f} ms", f"{stage.after:.2f} ms", f"{stage.ratio:.2f}"] for stage in report.stages
    ])  # fmt: skip
    lines += ["", *table(["operators", "number"], [[kind, str(count)] for kind, count in report.operators.items()
                                                   if "(int8)" in kind or "Conv" in kind])]  # fmt: skip
    lines.append("")
    if report.layers:
        lines += [*_layer_lines(report.layers), ""]
    if report.same_captions is not None:
        lines.append(f"the same caption for {report.same_captions:.0%} of {report.compared} sounds")
    if report.score_before is not None and report.score_after is not None and report.score_interval is not None:
        low, high = report.score_interval
        lines.append(f"CIDEr-D {report.score_after:.3f} [{low:.3f}, {high:.3f}], float32 {report.score_before:.3f}")
    return lines


def _layer_lines(layers: list[LayerError]) -> list[str]:
    rows = [[layer.node, f"{layer.error:.4f}"] for layer in layers[:SHOWN_LAYERS]]
    return table([f"worst of {len(layers)} int8 layers", "change of the decoder's keys, it alone in int8"], rows)


def _explain(layers: list[LayerError], stays: dict[str, str], json: bool) -> None:
    if not layers:
        raise EdgecapError("there is nothing to explain: only int8 has layers to rank; add --int8")
    if json:
        write(as_json({"layers": [{"node": layer.node, "error": layer.error} for layer in layers], "float": stays}))
        return
    rows = [[layer.node, f"{layer.error:.4f}"] for layer in layers]
    for line in table(["int8 layer", "change of the decoder's keys, it alone in int8"], rows):
        write(line)
    write("")
    for line in table(["float layer", "why"], [[name, reason] for name, reason in stays.items()]):
        write(line)
