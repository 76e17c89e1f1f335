"""`edgecap import`: a published checkpoint to a bundle.

The module loads without torch, so that the command line can list the command where it cannot run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecap.cli.console import as_json, say, write
from edgecap.errors import MissingDependencyError, OutputError
from edgecap.manifest import Licence, Provenance

if TYPE_CHECKING:
    from edgecap_train.checkpoint import SavedStudent

PUBLISHED_LICENCE = "Apache-2.0"
"""What the authors publish their students under."""
PUBLISHED_NOTICE = "Weights by Xu, Liu, Wu, Wang and Plumbley (Interspeech 2024), changed in form only."
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def import_checkpoint(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A .safetensors, .bin or .pth file, or the folder of a downloaded model."),
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the bundle to write.")],
    vocabulary: Annotated[
        Path | None,
        typer.Option("--vocabulary", metavar="PATH", help="A tokenizer.json or a word-to-id JSON file. "
                     "[default: what the checkpoint holds or what lies beside it]"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the model. [default: the folder's]")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--licence", "--license", metavar="SPDX", help="Licence of the weights. [default: the authors', "
                     f"{PUBLISHED_LICENCE}]"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a bundle that is there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a bundle of a published student's checkpoint, for edgecap caption --model DIR.

    Reads the effb2-trm students of Xu et al. (2024) in every form they are published in. No code in a checkpoint is
    run. The graphs are compared with PyTorch before anything is written. It takes half a minute.

    \b
    Examples:
      edgecap import model.safetensors --vocabulary tokenizer.json -o clotho
      edgecap import best.pth -o mine && edgecap caption --model mine rain.wav
    """
    if not force and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(f"{output} exists; name another folder, or add --force to replace a bundle")
    name = _name(name, output)
    try:
        from edgecap_export.bundles import created_by, export_bundle
        from edgecap_train.checkpoint import load_checkpoint
    except ImportError as error:
        raise MissingDependencyError.for_extra("edgecap import", "export") from error
    saved = load_checkpoint(path, vocabulary)
    for note in saved.notes:
        say("warning", note)
    bundle = export_bundle(
        saved.student, saved.vocabulary, output, name=name, licence=_licence(licence, saved),
        provenance=_provenance(saved, created_by()),
    )  # fmt: skip
    if json:
        write(as_json({"bundle": str(output), "name": name, "bytes": bundle.size, "notes": list(saved.notes)}))
    else:
        write(str(output))
        say("note", f"{name}, {bundle.size / 1e6:.1f} MB; type: edgecap caption --model {output} FILE")


def _name(given: str | None, output: Path) -> str:
    """The model's name. Raises BadParameter for one that no manifest takes."""
    if given is None:
        given = re.sub(r"[^A-Za-z0-9._-]+", "-", output.resolve().name).lstrip("._-")[:128] or "imported"
    if not NAME.fullmatch(given):
        raise typer.BadParameter(f"{given!r} is no name for a model; use letters, digits, dots and dashes",
                                 param_hint="--name")
    return given


def _licence(given: str | None, saved: SavedStudent) -> Licence:
    if saved.published:
        return Licence(name=given or PUBLISHED_LICENCE, notice="" if given else PUBLISHED_NOTICE)
    return Licence(name=given or saved.metadata.get("licence", "unstated"))


def _provenance(saved: SavedStudent, program: str) -> Provenance:
    details = dict(saved.metadata)
    if saved.notes:
        details["assumed"] = " ".join(saved.notes)
    source = f"the published student in {saved.path.name}" if saved.published else f"own training, {saved.path.name}"
    return Provenance(source=source, sha256=saved.sha256, created_by=program, details=details)
