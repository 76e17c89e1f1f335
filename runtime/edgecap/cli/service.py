"""`edgecap service`: the listener as a service of systemd."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecap.cli.console import say, write
from edgecap.cli.options import Json
from edgecap.util.files import to_json

if TYPE_CHECKING:
    from edgecap.service.unit import Scope

FOUND_FAULT = 11
"""Exit code of commands that look and find that something is not as it should be."""
service = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Let systemd run edgecap listen: from the start of the machine or of your session, watched, "
    "and with no more rights than it needs.",
)
OfSystem = Annotated[
    bool, typer.Option("--system/--user", help="Of the machine (as a user of its own) or of you. [default: of you]")
]


@service.command()
def install(
    *,
    system: OfSystem = False,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="The configuration to listen with. [default: "
            "listen.toml in ~/.config/edgecap or /etc/edgecap, written if it is not there]",
        ),
    ] = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it at once, and with each boot.")] = True,
) -> None:
    """Write the unit and start it. It starts before the microphone is there, and waits.

    After a change of the configuration, install again: whether the service may use the network depends on it.

    \b
    Examples:
      edgecap service install
      sudo /opt/edgecap/bin/edgecap service install --system
    """
    from edgecap.service import systemd

    for line in systemd.install(_scope(system), config, start=start):
        write(line)


@service.command()
def status(*, system: OfSystem = False, json: Json = False) -> None:
    """Show whether it runs and what it says. Exit code 0 where it runs, 11 where it does not."""
    from edgecap.service import systemd

    found = systemd.status(_scope(system))
    if json:
        write(to_json(found))
    elif found.get("fault"):
        say("warning", f"{found['fault']}; the unit {found['unit']} is {'' if found['installed'] else 'not '}installed")
    elif not found["installed"]:
        say(
            "warning",
            f"not installed; type: {'sudo ' if system else ''}edgecap service install{' --system' if system else ''}",
        )
    else:
        write(
            f"{found['state']} ({found['detail']}) since {found['since'] or 'never'}, restarted {found['restarts']} "
            f"times; last exit code {found['exit_code']}"
        )
        if found["says"]:
            write(str(found["says"]))
    if not found["active"]:
        raise typer.Exit(FOUND_FAULT)


@service.command()
def remove(*, system: OfSystem = False) -> None:
    """Stop it and remove its unit. The configuration, the journal and kept sounds stay."""
    from edgecap.service import systemd

    for line in systemd.remove(_scope(system)):
        write(line)


def _scope(system: bool) -> Scope:
    return "system" if system else "user"
