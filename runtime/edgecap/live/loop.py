"""The event loop of one or more streams, in one thread, until the end, whatever ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from edgecap.errors import EdgecapError
from edgecap.live.pipeline.status import StreamStep

DRAIN_SECONDS = 5.0
"""Seconds that captions under way may still take after the stop."""


class SteppedStream(Protocol):
    """What the loop needs of a stream (`edgecap.live.listener.Listener`)."""

    @property
    def patience(self) -> float:
        """Seconds until a step may bring something."""
        ...

    def step(self, wait: float | None = None) -> StreamStep:
        """Take new sound; waits for it at most `wait` seconds, `patience` where that is None."""
        ...

    def ended(self, duration: float | None = None) -> bool:
        """Whether the sound has ended, or `duration` seconds have come."""
        ...

    def finish(self, *, caption_rest: bool = False, drain: float | None = DRAIN_SECONDS) -> StreamStep:
        """Close the open event."""
        ...

    def close(self) -> None:
        """Drop the window that waits to be captioned."""
        ...


def steps(
    streams: Sequence[SteppedStream],
    stop: threading.Event,
    duration: float | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[StreamStep]:
    """Steps of all streams until `stop` is set, all sources have ended, or each has given `duration` seconds.

    One stream waits in its source. Of several, each gets its step when its own patience is over, and between steps
    there is one sleep for all. Whatever ends the loop, open events are closed. Raises DeviceError and AudioError from a
    source, BundleError from the model.
    """
    running, failure = list(streams), None
    due = dict.fromkeys(running, float("-inf"))
    try:
        while running and not stop.is_set():
            several = len(running) > 1
            if several:
                sleep(max(0.0, min(due[stream] for stream in running) - clock()))
            now = clock()
            for stream in tuple(running):
                if several and due[stream] > now:
                    continue
                yield stream.step(0.0 if several else None)
                due[stream] = clock() + stream.patience
                if stream.ended(duration):
                    running.remove(stream)
                    yield stream.finish(caption_rest=not stop.is_set())
    except EdgecapError as error:
        failure = error
    except BaseException:
        for stream in streams:
            stream.close()
        raise
    deadline = time.monotonic() + DRAIN_SECONDS
    for stream in running:
        left = max(0.0, deadline - time.monotonic())
        try:
            yield stream.finish(drain=left if failure is None else None)
        except EdgecapError as error:
            failure = failure or error
    if failure is not None:
        raise failure
