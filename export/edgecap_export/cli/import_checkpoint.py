"""`edgecap import`: a published checkpoint to a bundle. Loads without torch, as `edgecap_export.cli.export`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecap.bundle.bundle import BundleContent
from edgecap.bundle.manifest import Licence
from edgecap.cli.console import say, write
from edgecap.errors import DataError, MissingDependencyError
from edgecap.util.files import to_json
from edgecap_export.output_paths import check_free, check_writable, is_model_name, model_name

if TYPE_CHECKING:
    from edgecap_export.calibration import CalibrationSet
    from edgecap_train.checkpoints.checkpoint import SavedStudent


def import_checkpoint(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A .safetensors, .bin or .pth file, or the folder of a downloaded model."),
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the bundle to write.")],
    vocabulary: Annotated[
        Path | None,
        typer.Option(
            "--vocabulary",
            metavar="PATH",
            help="A tokenizer.json or a word-to-id JSON file. "
            "[default: what the checkpoint holds or what lies beside it]",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the model. [default: the folder's]")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence", "--license", metavar="SPDX", help="Licence of the weights. [default: the authors', Apache-2.0]"
        ),
    ] = None,
    notice: Annotated[
        str, typer.Option("--notice", metavar="TEXT", help="With --licence: its terms in a sentence or two.")
    ] = "",
    card: Annotated[
        Path | None, typer.Option("--card", metavar="PATH", help="A model card to put into the bundle.")
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store the graphs' weights in float16: half the size, the same arithmetic.")
    ] = False,
    weights: Annotated[
        bool,
        typer.Option(
            "--weights",
            help="Also put in the float weights, in float16, so that edgecap export can start from the bundle.",
        ),
    ] = False,
    clip_level: Annotated[
        float | None,
        typer.Option(
            "--clip-level",
            metavar="DB",
            min=-100,
            max=100,
            help="Bring each clip to this mean mel power, such as 5, so that captions do not depend on a microphone's "
            "gain. [default: as the checkpoint says]",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="FOLDER",
            help="With --weights: recordings to measure the ranges on that "
            "int8 needs. The bundle gets the ranges, and weights with equalised channels, which int8 rounds less.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing bundle.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a bundle of a run or a published checkpoint.

    The bundle is for edgecap caption --model DIR.

    Reads the effb2-trm students of Xu et al. (2024) in every published form. No code in a checkpoint is run. The graphs
    are compared with PyTorch before anything is written. It takes half a minute.

    \b
    Examples:
      edgecap import model.safetensors --vocabulary tokenizer.json -o clotho
      edgecap import best.pth -o mine && edgecap caption --model mine rain.wav
    """
    check_free(output, force)
    check_writable(output)
    name = _name(name, output)
    if calibration is not None and not weights:
        raise typer.BadParameter("ranges are only used with the weights; add --weights", param_hint="--calibration")
    if notice and licence is None:
        raise typer.BadParameter("a notice belongs to a licence; add --licence", param_hint="--notice")
    text = _read_card(card)
    try:
        from edgecap_export.bundle.bundles import export_bundle, window_frames
        from edgecap_export.bundle.sources import checkpoint_source
        from edgecap_export.calibration import read_calibration
        from edgecap_export.quantisation.channel_equalisation import equalised
        from edgecap_train.checkpoints.checkpoint import load_checkpoint
    except ImportError as error:
        raise MissingDependencyError.for_extra("edgecap import", "export") from error
    saved = load_checkpoint(path, vocabulary)
    for note in saved.notes:
        say("warning", note)
    config = saved.student.config
    if clip_level is not None:
        saved.student.config = config = replace(config, front_end=replace(config.front_end, clip_level=clip_level))
    recordings = None
    if calibration is not None:
        recordings = read_calibration(calibration, config.front_end, window_frames(saved.student))
        for warning in recordings.warnings:
            say("warning", warning)
        saved = replace(saved, student=equalised(saved.student, recordings.log_mels))
    source = checkpoint_source(saved)
    bundle = export_bundle(
        saved.student,
        saved.vocabulary,
        output,
        name=name,
        licence=Licence(name=licence, notice=notice) if licence else source.licence,
        provenance=source.provenance,
        metrics=source.metrics,
        card=text,
        extra=lambda encode: _float_weights(saved, encode, recordings) if weights else [],
        half=half,
    )
    if json:
        write(to_json({"bundle": str(output), "name": name, "bytes": bundle.size, "notes": list(saved.notes)}))
    else:
        write(str(output))
        say("note", f"{name}, {bundle.size / 1e6:.1f} MB; type: edgecap caption --model {output} FILE")


def _name(name: str | None, output: Path) -> str:
    """The model's name. Raises BadParameter for one that manifests do not accept."""
    if name is None:
        return model_name(output.resolve().name)
    if not is_model_name(name):
        raise typer.BadParameter(
            f"invalid model name {name!r}; use letters, digits, dots, underscores and dashes", param_hint="--name"
        )
    return name


def _read_card(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"the model card {path} cannot be read ({error}); name a text file in UTF-8") from error


def _float_weights(saved: SavedStudent, encode: bytes, recordings: CalibrationSet | None) -> list[BundleContent]:
    """The weights in float16, and the ranges measured on a calibration set."""
    from edgecap_export.bundle.sources import WEIGHTS, half_weights
    from edgecap_export.quantisation.ranges import FILE_NAME, render_ranges, student_ranges

    contents = [BundleContent(WEIGHTS, "weights", half_weights(saved.student, saved.vocabulary, saved.metadata))]
    if recordings is not None:
        ranges = student_ranges(saved.student, encode, recordings)
        contents.append(BundleContent(FILE_NAME, "other", render_ranges(ranges)))
    return contents
