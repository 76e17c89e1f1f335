"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def model_names() -> list[str]:
    """Names of the installed models, for completion."""
    from edgecap.bundle.models import list_models

    return [model.name for model in list_models()]


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|FOLDER",
        autocompletion=model_names,
        help="Name in the list of edgecap models, or a bundle's folder. [default: the one in the package]",
    ),
]
BeamSize = Annotated[
    int | None,
    typer.Option("--beam", "-b", min=1, max=32, metavar="N", help="Beam size; 1 is greedy. [default: the model's, 3]"),
]
WindowLength = Annotated[
    float | None,
    typer.Option("--window", "-w", metavar="SECONDS", help="Seconds captioned at once. [default: the model's, 10]"),
]
Threads = Annotated[
    int | None, typer.Option("--threads", "-t", min=1, max=1024, metavar="N", help="Processor threads. [default: 1]")
]
Sounds = Annotated[
    Path | None,
    typer.Option("--sounds", metavar="FOLDER", help="Folder of taught sounds. [default: EDGECAP_SOUNDS, or your own]"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
