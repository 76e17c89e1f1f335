"""The command tree: the runtime's own commands, and those that other distributions' entry points add."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer

from edgecap._version import __version__
from edgecap.cli.caption import caption
from edgecap.cli.console import write
from edgecap.cli.demo import demo
from edgecap.cli.devices import devices
from edgecap.cli.doctor import doctor
from edgecap.cli.listen import listen
from edgecap.cli.models import models
from edgecap.cli.service import service
from edgecap.errors import MissingDependencyError

ENTRY_POINTS = "edgecap.commands"
OWN: dict[str, Callable[..., None] | typer.Typer] = {
    "caption": caption,
    "listen": listen,
    "models": models,
    "devices": devices,
    "demo": demo,
    "service": service,
    "doctor": doctor,
}
EPILOG = """\b
Examples:
  edgecap caption rain.wav
  edgecap caption --json --hop 5 street.flac kitchen.mp3
  arecord -f cd -d 10 | edgecap caption -
  edgecap listen --device "USB Audio"

\b
Exit codes:
  0 success, a closed pipe, a listener stopped by Ctrl-C or SIGTERM
  1 something unexpected        6 a microphone is missing or refused
  2 a wrong line or setting     7 a result could not be written
  3 a sound cannot be used      8 a checkpoint cannot be imported
  4 a model cannot be used      9 an exported graph is not exact
  5 a library is not installed  10 bench: the machine is busy
  11 doctor found a fault, or the service does not run; 130 stopped by Ctrl-C

No sound is sent, or stored but by listen --keep-audio; captions go only where you say. EDGECAP_HOME names the folder
with your own models; EDGECAP_DEBUG=1 shows the traceback of an error."""


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """The command tree for one command line.

    Commands of other folders are looked up only where the line is not for one of the runtime's own:
    the search costs more than all other parsing.
    """
    app = typer.Typer(
        name="edgecap",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        epilog=EPILOG,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    app.callback()(_root)
    for name, command in OWN.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    if not arguments or arguments[0] not in OWN or "_EDGECAP_COMPLETE" in os.environ:
        for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
            if entry.name not in OWN:
                # What does not load must still take its arguments, to say what is missing instead of "no such option".
                found = _load(entry)
                if isinstance(found, typer.Typer):
                    app.add_typer(found, name=entry.name)
                    continue
                loose = {"allow_extra_args": True, "ignore_unknown_options": True} if found is None else None
                app.command(entry.name, context_settings=loose)(found or _missing(entry))
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        write(f"edgecap {__version__}")
        raise typer.Exit(0)


def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Says in one sentence what a sound is: audio captioning on this device, with no network."""


def _load(entry: EntryPoint) -> typer.Typer | Callable[..., None] | None:
    """A command of another folder, or a group of commands; None where it does not load."""
    try:
        command: typer.Typer | Callable[..., None] = entry.load()
    except ImportError:
        return None
    return command


def _missing(entry: EntryPoint) -> Callable[..., None]:
    """A command that says what is missing for the one that should be here."""

    def command() -> None:
        """(Needs packages that are not installed.)"""
        raise MissingDependencyError.for_extra(f"edgecap {entry.name}", next(iter(entry.extras), "dev"))

    return command
