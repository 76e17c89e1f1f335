"""`edgecap doctor`: what keeps this machine from listening."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from edgecap.cli.console import write
from edgecap.cli.options import Json, Model
from edgecap.cli.service import FOUND_FAULT
from edgecap.util.files import to_json

MARKS = {"ok": "ok   ", "note": "note ", "fault": "FAULT"}


def doctor(
    *,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device", "-d", metavar="NUMBER|NAME", help="Microphone to look at (repeatable). [default: the system's]"
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", "-c", metavar="FILE", help="A configuration of edgecap listen.")
    ] = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """Look for what keeps this machine from listening, and say what to type.

    Looks at PortAudio, the microphones, who holds them, their level (the microphone is open for 1.5 s, nothing is
    kept), the model's hashes, the time of a caption against the hop, heat and throttling, disk, and clock. Exit code 0
    where nothing is wrong, 11 where there is a fault; a note is none.

    \b
    Examples:
      edgecap doctor
      edgecap doctor --json --config /etc/edgecap/listen.toml
    """
    from edgecap.doctor import examine
    from edgecap.live.config.config_file import load_config

    settings = load_config(config, {"source": {"device": device or None}, "model": {"name": model}})
    failed = False
    for finding in examine(settings):
        failed |= finding.state == "fault"
        write(
            to_json(asdict(finding))
            if json
            else f"{MARKS[finding.state]}  {finding.check:<9}  {finding.found}\n{'':18}→ {finding.type}"
        )
    if failed:
        raise typer.Exit(FOUND_FAULT)
