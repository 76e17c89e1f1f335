"""`edgecap listen` without its options: a configuration to a running listener and what the terminal shows.

A plain command line, as that of the service, is read here: Typer, with what it loads, takes 9 MB as long as edgecap
listens. Every other line, wrong ones among them, goes to Typer.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgecap.cli.console import RedirectedOutput, say
from edgecap.cli.signals import stop_on_signals
from edgecap.live.config.config_file import config_keys
from edgecap.live.config.listen_config import ListenConfig
from edgecap.live.events.event import Change
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.session import ListenSession
from edgecap.live.sinks.base import Sink
from edgecap.live.sinks.lines import JsonLines, PeopleLines
from edgecap.live.sinks.registry import configured
from edgecap.live.sinks.window_log import WindowLog
from edgecap.util.allocator import give_back
from edgecap.util.stderr import without_lines

if TYPE_CHECKING:
    from edgecap.cli.live_view import LiveView

GIVE_BACK_SECONDS = 600.0
"""Between two times that memory which is free is returned to the system."""
LIBRARY_LINES = ("Expression '", "ALSA lib ")
"""How lines begin that PortAudio and ALSA write when a sound server ends; the loss is reported in plain words."""


def plain_options(arguments: Sequence[str]) -> tuple[str | None, dict[str, dict[str, object]]] | None:
    """The arguments of `load_config` for a plain command line behind "edgecap listen"; None for any other.

    Plain are --config, switches, and options that take one text.
    """
    flags = {
        flag: (key, not off)
        for key in config_keys()
        for flags in (key.option.flags if key.option else ())
        for off, flag in enumerate(flags.split("/"))  # "--wait/--no-wait"
    }
    path, over, rest = None, dict[str, dict[str, object]](), iter(arguments)
    for word in rest:
        key, on = flags.get(word, (None, False))
        if key is not None and key.type is bool:
            over.setdefault(key.section, {})[key.name] = on
            continue
        value = next(rest, "-")
        if value.startswith("-"):
            return None
        if word in ("--config", "-c"):
            path = value
        elif key is None or key.option is None or key.option.parse or key.type is not str:
            return None
        else:
            over.setdefault(key.section, {})[key.name] = value
    return path, over


def run_listener(config: ListenConfig) -> None:
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

    def __init__(self) -> None:
        self._events = self._windows = Sink()
        self._lock = threading.Lock()
        """Guards the view, for messages from any thread."""
        self._view: LiveView | None = None
        self.output = RedirectedOutput()
        """Where lines go."""
        self._given_back = float("-inf")

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
        if (now := time.monotonic()) - self._given_back >= GIVE_BACK_SECONDS:  # at first what loading the model took
            self._given_back = now
            give_back()
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
