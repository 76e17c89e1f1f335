"""`edgecap listen`: a microphone, a file or a pipe to events, and where they go.

Its options are those of the configuration's keys (`edgecap.live.config.options`), and three shared with other commands.
"""

from __future__ import annotations

import inspect
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from edgecap.cli.console import RedirectedOutput, say, write
from edgecap.cli.options import BeamSize, Model, WindowLength
from edgecap.cli.signals import stop_on_signals
from edgecap.live.config.config_file import ConfigKey, config_keys, load_config
from edgecap.live.config.config_text import render_config
from edgecap.live.config.listen_config import ListenConfig
from edgecap.live.events.event import Change
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.session import ListenSession
from edgecap.live.sinks.base import Sink
from edgecap.live.sinks.lines import JsonLines, PeopleLines
from edgecap.live.sinks.registry import configured
from edgecap.live.sinks.window_log import WindowLog
from edgecap.util.stderr import without_lines

if TYPE_CHECKING:
    from edgecap.cli.live_view import LiveView

LIBRARY_LINES = ("Expression '", "ALSA lib ")
"""How lines begin that PortAudio and ALSA write when a sound server ends; the loss is reported in plain words."""
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
    _run(result)


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


def _run(config: ListenConfig) -> None:
    """Listen until the end, and say a summary in one line. Raises OutputError where lines could not be printed."""
    stop, console = stop_on_signals(), _Console()
    with without_lines(*LIBRARY_LINES), ListenSession(config, console.notify, sinks=[console]) as session:
        console.open(config, session)
        began, worked = time.monotonic(), time.process_time()
        for _ in session.changes(stop):
            pass
        share = (time.process_time() - worked) / max(1e-3, time.monotonic() - began)
        say("note", summary(session.statuses, share))
    console.output.complete()


class _Console(Sink):
    """The output on the terminal: lines, JSON or the live view. Opened last, so that no error appears in a view."""

    fatal = (typer.Exit,)
    """Nobody reads the output any more."""

    def __init__(self) -> None:
        self._events = self._windows = Sink()
        self._lock = threading.Lock()
        """Guards the view, for messages from any thread."""
        self._view: LiveView | None = None
        self.output = RedirectedOutput()
        """Where lines go."""

    def open(self, config: ListenConfig, session: ListenSession) -> None:
        """Choose the view."""
        output, write = config.output, self.output.write
        self.output.patient = bool(configured(config))
        say("note", f"listening to {', '.join(session.sources)}; Ctrl-C stops")
        if output.hearing:
            self._windows = WindowLog(write, as_json=output.json)
        if output.json:
            self._events = JsonLines(
                write, model=session.model, updates=output.updates, audio_kept=output.keep_audio is not None
            )
        elif output.plain or output.hearing or not sys.stdout.isatty():
            self._events = PeopleLines(write, updates=output.updates, named=len(session.sources) > 1)
        else:
            from edgecap.cli.live_view import LiveView

            with self._lock:
                self._events = self._view = LiveView()

    def notify(self, kind: str, message: str) -> None:
        """Print a message, above the view where there is one."""
        with self._lock:
            try:
                (self._view.notify if self._view else say)(kind, message)
            except OSError:  # the terminal is gone; listening goes on
                say(kind, message)

    def on_event(self, change: Change) -> None:
        """Print it."""
        self.output.check()
        self._events.on_event(change)

    def on_status(self, status: StatusSnapshot) -> None:
        """Show it, and print its window where that is enabled."""
        self._events.on_status(status)
        self._windows.on_status(status)

    def close(self) -> None:
        """Take the view off the terminal."""
        with self._lock:
            self._events.close()
            self._view = None


def summary(statuses: Sequence[StatusSnapshot], share: float) -> str:
    """A summary in one line; `share` of one core was used."""

    def total(field: str) -> int:
        return sum(getattr(status, field) for status in statuses)

    return (
        f"stopped after {total('events')} events, {total('captions')} captions, {total('quiet')} hops quiet, "
        f"{total('dropped')} hops skipped, {sum(status.lost for status in statuses):.1f} s of sound dropped, "
        f"{total('overflows')} overflows; {100 * share:.2f} % of one core, "
        f"captions at most {1000 * max(status.slowest for status in statuses):.0f} ms after their window"
    )
