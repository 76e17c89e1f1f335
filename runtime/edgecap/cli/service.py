"""`edgecap service`: the listener as a systemd service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecap.cli.console import say, write
from edgecap.cli.options import Json
from edgecap.errors import ServiceError
from edgecap.util.files import to_json

if TYPE_CHECKING:
    from edgecap.service.unit import Scope

service = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Run edgecap listen as a systemd service. It is started with the machine or your session, restarted when it "
    "fails, and with no more rights than it needs.",
)
OfSystem = Annotated[
    bool, typer.Option("--system/--user", help="For the machine (under a separate user) or for you. [default: for you]")
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
            help="Configuration of edgecap listen. [default: "
            "listen.toml in ~/.config/edgecap or /etc/edgecap, written if missing]",
        ),
    ] = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it now and at each boot.")] = True,
) -> None:
    """Write the unit and start it. It waits for a microphone that is not connected yet.

    Install again after changing the configuration: it decides which network and folders the service may use.

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
    """Show whether the service runs, and its last message. Exit code 11 if it does not run."""
    from edgecap.service import systemd

    state = systemd.status(_scope(system))
    if json:
        write(to_json(state))
    elif state.get("fault"):
        say("warning", f"{state['fault']}; the unit {state['unit']} is {'' if state['installed'] else 'not '}installed")
    elif not state["installed"]:
        say("warning", f"not installed; type: {systemd.install_command(_scope(system))}")
    else:
        write(
            f"{state['state']} ({state['detail']}) since {state['since'] or 'never'}, restarted {state['restarts']} "
            f"times; last exit code {state['exit_code']}"
        )
        if state["says"]:
            write(str(state["says"]))
    if state.get("changed") and not json:
        say("warning", str(state["changed"]))
    if not state["active"]:
        raise typer.Exit(ServiceError.exit_code)


@service.command()
def remove(*, system: OfSystem = False) -> None:
    """Stop the service and remove its unit. The configuration, the journal and kept sounds stay."""
    from edgecap.service import systemd

    for line in systemd.remove(_scope(system)):
        write(line)


def _scope(system: bool) -> Scope:
    return "system" if system else "user"
