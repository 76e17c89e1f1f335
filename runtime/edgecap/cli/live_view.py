"""The live view of `edgecap listen` on a terminal: level, gate, caption, recent events, counts."""

from __future__ import annotations

import threading
from collections import deque

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from edgecap.cli.console import clock
from edgecap.live.events.event import Change, Event
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.sinks.base import Sink
from edgecap.live.sinks.lines import clock_time
from edgecap.util.text import clean

LOWEST, HIGHEST = -90.0, 0.0
"""Ends of the level meter, dBFS."""
METER = 40
RECENT = 8
PER_SECOND = 8


class LiveView(Sink):
    """Redrawn eight times a second by a thread of rich; the newest events stay on the terminal at the end."""

    def __init__(self, console: Console | None = None) -> None:
        self._lock = threading.Lock()
        """Guards the two below, which the thread of rich reads."""
        self._statuses: dict[int, StatusSnapshot] = {}
        self._recent: deque[Event] = deque(maxlen=RECENT)
        self._console = console or Console()
        self._live = Live(
            console=self._console, get_renderable=self.render, refresh_per_second=PER_SECOND, transient=True
        )
        self._live.start()

    def on_event(self, change: Change) -> None:
        """Show it among the recent ones."""
        with self._lock:
            if change.kind == "begin":
                self._recent.append(change.event)
                return
            for index, event in enumerate(self._recent):
                if event.id == change.event.id:
                    self._recent[index] = change.event

    def on_status(self, status: StatusSnapshot) -> None:
        """Show it from the next redraw on."""
        with self._lock:
            self._statuses[status.number] = status

    def notify(self, kind: str, message: str) -> None:
        """Print a line above the view."""
        style = "yellow" if kind == "warning" else "dim"
        self._console.print(Text(f"edgecap: {kind}: {clean(message)}", style))

    def close(self) -> None:
        """Take the view off the terminal and leave the recent events there."""
        self._live.stop()
        for event in self._recent:
            self._console.print(f"{clock_time(event.began)}  {event.text}", markup=False, highlight=False)

    def render(self) -> RenderableType:
        """The view as of now."""
        with self._lock:
            statuses = [self._statuses[number] for number in sorted(self._statuses)]
            recent = [*reversed(self._recent)]
        if not statuses:
            return Text("waiting for sound …", "dim")
        lines = []
        for status in statuses:
            lines += _stream(status)
        if any(status.audio_kept for status in statuses):
            lines.append(Text(f"● the sound of events is kept in {statuses[0].audio_kept}", "bold red"))
        named = len(statuses) > 1
        lines += [_row(event, named=named) for event in recent]
        lines += [Text(_counts(status, named=named), "dim") for status in statuses]
        return Group(*lines)


def _stream(status: StatusSnapshot) -> list[RenderableType]:
    """One source: level, gate, fault, caption, beams."""
    lines: list[RenderableType] = [
        Text.assemble(("listening to ", "dim"), status.source, ("  for ", "dim"), clock(round(status.heard))),
        _meter(status),
    ]
    if status.fault:
        lines.append(Text(f"fault: {status.fault}", "bold red"))
    if status.paused:
        lines.append(Text("paused on the page: nothing is described, shown or kept", "bold yellow"))
    caption = status.event.text if status.event else ""
    lines.append(Text(caption or ("…" if status.gate_open else "quiet"), "bold" if caption else "dim"))
    if status.beams:
        lines.append(
            Text(
                "   ".join(f"{score:.2f} {text}" for text, score in status.beams[:3]),
                "dim",
                no_wrap=True,
                overflow="ellipsis",
            )
        )
    return lines


def _meter(status: StatusSnapshot) -> RenderableType:
    """The level as a bar, with the floor's place marked."""
    filled = round(METER * _share(status.level))
    bar = ["█" if column < filled else "·" for column in range(METER)]
    if status.floor is not None:
        bar[min(METER - 1, round(METER * _share(status.floor)))] = "│"
    state = "open" if status.gate_open else "quiet"
    style = "green" if status.gate_open else "dim"
    return Text.assemble(("".join(bar), style), f" {status.level:6.1f} dBFS  gate {state}")


def _share(level: float) -> float:
    return min(1.0, max(0.0, (level - LOWEST) / (HIGHEST - LOWEST)))


def _row(event: Event, *, named: bool) -> RenderableType:
    length = f"{event.end - event.start:5.0f} s"
    name = f"{event.source}: " if named else ""
    return Text(f"{clock_time(event.began)} {length}  {name}{event.text}", "" if event.open else "dim", overflow="fold")


def _counts(status: StatusSnapshot, *, named: bool) -> str:
    """One line of figures."""
    parts = [
        *([status.source] if named else []),
        f"hop {status.hop:g} s",
        f"a caption takes {1000 * status.seconds:.0f} ms (real-time factor {status.load:.3f})",
        f"dropped {status.dropped}",
    ]
    if status.lost or status.overflows:
        parts.append(f"lost {status.lost:.1f} s, {status.overflows} overflows")
    if status.celsius is not None:
        parts.append(f"{status.celsius:.0f} °C" + (" throttled" if status.throttled else ""))
    return "   ".join(parts)
