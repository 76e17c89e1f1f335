"""The command tree: the runtime's own commands, and those that the other packages add by entry points."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated

import typer

from edgecap._version import __version__
from edgecap.cli.console import COMPLETION, write
from edgecap.errors import MissingDependencyError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Command = Callable[..., None] | typer.Typer
"""A command, or a group of commands."""
ENTRY_POINTS = "edgecap.commands"
OWN = {
    "caption": "edgecap.cli.caption:caption",
    "archive": "edgecap.cli.archives.archive:archive",
    "listen": "edgecap.cli.listen:listen",
    "pull": "edgecap.cli.getting.pull:pull",
    "models": "edgecap.cli.getting.models:models",
    "teach": "edgecap.cli.taught.teach:teach",
    "sounds": "edgecap.cli.taught.sounds:sounds",
    "search": "edgecap.cli.archives.search:search",
    "summary": "edgecap.cli.archives.summary:summary",
    "devices": "edgecap.cli.inventory:devices",
    "demo": "edgecap.cli.demo:demo",
    "service": "edgecap.cli.service:service",
    "doctor": "edgecap.cli.doctor:doctor",
}
"""The runtime's commands as "module:function", imported when a command line needs them."""
EPILOG = """\b
Examples:
  edgecap caption rain.wav
  edgecap caption --json --hop 5 street.flac kitchen.mp3
  arecord -f cd -d 10 | edgecap caption -
  edgecap listen --device "USB Audio"

\b
Exit codes:
  0 success, a closed pipe, a listener stopped by Ctrl-C or SIGTERM
  1 an unexpected failure         8 a checkpoint cannot be imported
  2 a wrong option or setting     9 an export failed or is not exact
  3 a sound cannot be used       10 the machine is too busy to measure on
  4 a model cannot be used       11 doctor found a fault; systemd or its service failed
  5 a library is not installed   12 a table, training data or a result file cannot be used
  6 a microphone is unavailable  13 a training run or a measurement failed
  7 a result cannot be written   14 a search found nothing
                                130 ended by Ctrl-C; 143 ended by SIGTERM

Sound is never sent anywhere, and stored only by listen --keep-audio; captions go only where you say. EDGECAP_HOME names
the folder with your own models, EDGECAP_CACHE that of downloads; EDGECAP_DEBUG=1 shows the traceback of an error."""


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """The command tree for one command line.

    A line for one of the runtime's own commands gets that command alone: importing the others, and looking for those of
    other packages, costs more than all other parsing.
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
    if arguments and arguments[0] in OWN and COMPLETION not in os.environ:
        _add(app, arguments[0], resolve_name(OWN[arguments[0]]))
        return app
    for name, place in OWN.items():
        _add(app, name, resolve_name(place))
    from importlib.metadata import entry_points  # it loads much that one command does not need

    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        if entry.name not in OWN:
            try:
                _add(app, entry.name, entry.load())
            except ImportError:
                # It must still take its arguments, to say what is missing instead of "no such option".
                loose = {"allow_extra_args": True, "ignore_unknown_options": True}
                app.command(entry.name, context_settings=loose)(_missing(entry))
    return app


def _add(app: typer.Typer, name: str, command: Command) -> None:
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


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
    """Describe sounds in one sentence: audio captioning on this device, with no network."""


def _missing(entry: EntryPoint) -> Callable[..., None]:
    """A command in place of one that cannot be imported; it says what to install."""

    def command() -> None:
        """(Needs packages that are not installed.)"""
        raise MissingDependencyError.for_extra(f"edgecap {entry.name}", next(iter(entry.extras), "dev"))

    return command
