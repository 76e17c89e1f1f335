"""Options that the commands of measurements share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result, with every single value, to FILE.")
]
Clips = Annotated[
    Path | None, typer.Option("--clips", metavar="FOLDER", help="Sounds to measure on. [default: four computed ones]")
]
EvenBusy = Annotated[
    bool, typer.Option("--even-busy", help="Measure on a busy machine too; the outcome is marked as not a result.")
]
