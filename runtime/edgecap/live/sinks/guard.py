"""A failing sink ends neither the listener nor another sink.

An exception of a sink is reported, the sink is closed, and opened again later. What it missed meanwhile is counted and
reported too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from edgecap.errors import reason_of
from edgecap.live.events.event import Change
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.sinks.base import Sink
from edgecap.types import LogMel, Notify, Waveform

FIRST_RETRY, LONGEST_RETRY = 10.0, 600.0
"""Seconds until a sink that failed is opened again; each time twice as long."""
CLOSE_SECONDS = 6.0
"""Longest wait at the end for a sink that failed and is still being closed."""


class GuardedSink(Sink):
    """Passes every call on to a sink, and survives what that raises."""

    def __init__(
        self,
        name: str,
        open_sink: Callable[[], Sink],
        notify: Notify,
        *,
        output: str = "",
        fatal: tuple[type[Exception], ...] = (),
        again: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open it; `name` is that of its option, `output` what rules call it. What that raises is raised.

        Exceptions of the types `fatal`, or of the sink's own `fatal`, are raised later too. A sink that cannot be
        opened `again` stays closed after a failure.
        """
        self.name, self.output = name, output
        self._open_sink, self._notify, self._again, self._clock = open_sink, notify, again, clock
        self._sink: Sink | None = open_sink()
        self._fatal = (*fatal, *self._sink.fatal)
        self._delay, self._opened, self._retry_at = FIRST_RETRY, clock(), float("inf")
        self._missed: set[int] = set()
        self._closing: threading.Thread | None = None

    @property
    def followed(self) -> bool:
        """As the sink says."""
        try:
            return self._sink is not None and self._sink.followed
        except Exception as error:
            self._put_aside(error)
            return False

    @property
    def wants_frames(self) -> bool:  # type: ignore[override] # a constant of the sink
        """As the sink says."""
        return self._sink is not None and self._sink.wants_frames

    @property
    def wants_audio(self) -> bool:  # type: ignore[override] # a constant of the sink
        """As the sink says."""
        return self._sink is not None and self._sink.wants_audio

    def on_event(self, change: Change) -> None:
        """Pass it on; counted where the sink is closed."""
        self._pass_on(lambda sink: sink.on_event(change))
        if self._sink is None:
            self._missed.add(change.event.id)

    def on_status(self, status: StatusSnapshot) -> None:
        """Pass it on; opens the sink again where it is time to."""
        if self._sink is None and self._clock() >= self._retry_at:
            self._reopen()
        self._pass_on(lambda sink: sink.on_status(status))

    def on_frames(self, source: str, frames: LogMel) -> None:
        """Pass them on."""
        self._pass_on(lambda sink: sink.on_frames(source, frames))

    def on_audio(self, source: str, samples: Waveform, end: float) -> None:
        """Pass them on."""
        self._pass_on(lambda sink: sink.on_audio(source, samples, end))

    def on_clock_set(self, seconds: float) -> None:
        """Pass it on."""
        self._pass_on(lambda sink: sink.on_clock_set(seconds))

    def on_sounds(self, sounds: Mapping[str, str]) -> None:
        """Pass them on."""
        self._pass_on(lambda sink: sink.on_sounds(sounds))

    def close(self) -> None:
        """Close the sink; a failure is reported."""
        sink, self._sink = self._sink, None
        if self._closing is not None:
            self._closing.join(CLOSE_SECONDS)
        if self._missed:
            self._notify("warning", f"{self.name} lacks {len(self._missed)} events")
        if sink is not None:
            try:
                sink.close()
            except self._fatal:
                raise
            except Exception as error:
                self._notify("warning", f"{self.name} could not be closed ({_reason(error)}); its last events may lack")

    def _pass_on(self, call: Callable[[Sink], None]) -> None:
        if self._sink is None:
            return
        try:
            call(self._sink)
        except self._fatal:
            raise
        except Exception as error:
            self._put_aside(error)

    def _put_aside(self, error: Exception) -> None:
        """Report the failure and close the sink."""
        sink, self._sink = self._sink, None
        now = self._clock()
        if now - self._opened > LONGEST_RETRY:
            self._delay = FIRST_RETRY
        self._retry_at = now + self._delay if self._again else float("inf")
        then = f"it is opened again in {self._delay:.0f} s" if self._again else "it stays closed"
        self._delay = min(LONGEST_RETRY, 2.0 * self._delay)
        self._notify("warning", f"{self.name} failed ({_reason(error)}); listening goes on without it, {then}")
        if sink is not None:  # in a thread: it may deliver what waits for some seconds, and nothing waits for that
            self._closing = threading.Thread(target=_close_quietly, args=(sink,), name=f"edgecap closes {self.name}")
            self._closing.daemon = True
            self._closing.start()

    def _reopen(self) -> None:
        if self._closing is not None and self._closing.is_alive():
            return  # it still has the file or the port
        try:
            self._sink = self._open_sink()
        except Exception:  # as reported before
            self._retry_at = self._clock() + self._delay
            self._delay = min(LONGEST_RETRY, 2.0 * self._delay)
            return
        self._opened = self._clock()
        lacks = f"; it lacks {len(self._missed)} events" if self._missed else ""
        self._missed.clear()
        self._notify("note", f"{self.name} works again{lacks}")


def _close_quietly(sink: Sink) -> None:
    with suppress(Exception):  # follows from the failure that was reported
        sink.close()


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {reason_of(error)}"
