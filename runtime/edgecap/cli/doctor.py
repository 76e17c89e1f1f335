"""`edgecap doctor`: finds what keeps this machine from listening."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecap.cli.console import write
from edgecap.cli.options import Json, Model
from edgecap.errors import ServiceError
from edgecap.util.files import to_json

MARKS = {"ok": "ok   ", "note": "note ", "fault": "FAULT"}


def doctor(
    *,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device", "-d", metavar="NUMBER|NAME", help="Microphone to check (repeatable). [default: the system's]"
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", "-c", metavar="FILE", help="Configuration of edgecap listen.")
    ] = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """Find what keeps this machine from listening.

    Says what to type where something is wrong.

    Checks PortAudio, the microphones, the programs that hold them, their level (the microphone is open for 1.5 s,
    nothing is kept), the model's hashes, the time of a caption against the hop, heat and throttling, disk, and clock.
    Exit code 11 if there is a fault; a note is not a fault.

    \b
    Examples:
      edgecap doctor
      edgecap doctor --json --config /etc/edgecap/listen.toml
    """
    from edgecap.doctor import examine
    from edgecap.live.config.config_file import load_config

    settings = load_config(config, {"source": {"device": device or None}, "model": {"name": model}})
    failed = False
    for result in examine(settings):
        failed |= result.state == "fault"
        line = f"{MARKS[result.state]}  {result.check:<9}  {result.message}"
        line += f"\n{'':18}→ {result.advice}" if result.advice else ""
        write(to_json(result.document()) if json else line)
    if failed:
        raise typer.Exit(ServiceError.exit_code)
