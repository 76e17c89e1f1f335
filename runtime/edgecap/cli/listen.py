"""`edgecap listen`: a microphone, a file or a pipe to events, and where they go.

Its options are those of the configuration's keys (`edgecap.live.config.options`), and three shared with other commands.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from edgecap.cli.console import say, write
from edgecap.cli.live.listening import run_listener
from edgecap.cli.options import BeamSize, Model, WindowLength
from edgecap.live.config.config_file import ConfigKey, config_keys, load_config
from edgecap.live.config.config_text import render_config

SHARED = {("model", "name"): Model, ("model", "beam"): BeamSize, ("stream", "window"): WindowLength}
"""Section and key to an option that other commands have too."""
Config = Annotated[
    str | None, typer.Option("--config", "-c", metavar="FILE", help="Read a TOML file; options override it.")
]
PrintConfig = Annotated[
    bool,
    typer.Option(
        "--print-config", help="Print the configuration that would be used, without passwords and keys, and exit."
    ),
]


def listen(config: Config = None, print_config: PrintConfig = False, **given: Any) -> None:  # noqa: ANN401 - see below
    """Describe sounds as they happen, until Ctrl-C.

    One line is printed for each event; SIGTERM ends it too. Captions that say the same are one event, with a beginning
    and an end. In quiet the model does not run. A microphone that is unplugged is waited for and opened again. One
    window of sound is held in memory; it is never stored unless --keep-audio is given, which every view then shows.
    Captions describe; they never transcribe speech.
    On a terminal a live view shows level, gate, caption and recent events.

    \b
    Examples:
      edgecap listen
      edgecap listen --device "USB Audio" --device "Webcam" --hearing
      edgecap listen --only dog --exec 'notify-send "$EDGECAP_TEXT"'
      edgecap listen --json --wait --journal events.db --metrics 9642
      edgecap listen --web 8080
      edgecap listen --file walk.flac --speed 0 --srt walk.srt
      edgecap listen --rtsp rtsp://camera.lan/1
      ffmpeg -i http://radio/1 -f s16le -ac 1 -ar 16000 - | edgecap listen --stdin
      edgecap listen --print-config > listen.toml
    """
    over: dict[str, dict[str, object]] = {}
    for key in config_keys():
        value = given.get(_parameter_name(key))
        if value in (None, []):
            continue
        parse = key.option.parse if key.option else None
        over.setdefault(key.section, {}).update(parse(value) if parse else {key.name: value})
    result = load_config(config, over)
    if print_config:
        write(render_config(result, secrets=False).rstrip("\n"))
        return
    if any(urlsplit(url).password for url in given.get("source_rtsp") or ()):
        say("warning", "all users of this machine can read the password in --rtsp; write it in [source] of --config")
    run_listener(result)


def _parameter_name(key: ConfigKey) -> str:
    return f"{key.section}_{key.name}"


def _parameters() -> Iterator[inspect.Parameter]:
    """The parameters that typer makes options of."""
    for key in config_keys():
        annotation = SHARED.get((key.section, key.name)) or _option(key)
        if annotation is not None:
            yield inspect.Parameter(
                _parameter_name(key), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
            )
    for name, annotation, default in (("config", Config, None), ("print_config", PrintConfig, False)):
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _option(key: ConfigKey) -> Any:  # noqa: ANN401 - an annotation
    """The option of a key; None where it can only stand in a file."""
    if key.option is None:
        return None
    kind = list[str] if key.type is list else str if key.option.parse else key.type
    default = "" if key.default in (None, False, (), []) else f" [default: {_shown(key.default)}]"
    return Annotated[
        kind | None, typer.Option(*key.option.flags, metavar=key.option.metavar, help=f"{key.option.help}{default}")
    ]


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


listen.__signature__ = inspect.Signature([*_parameters()])  # type: ignore[attr-defined]
