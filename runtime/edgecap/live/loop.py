"""The crank: turns one listener or several, in one thread, until the end, whatever ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from edgecap.errors import EdgecapError
from edgecap.live.events.event import Change

if TYPE_CHECKING:
    from edgecap.live.listener import Listener

DRAIN_SECONDS = 5.0
"""Seconds that captions on their way may still take after the end was asked for."""


def steps(
    listeners: Sequence[Listener],
    stop: threading.Event,
    duration: float | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[Listener, list[Change]]]:
    """What each step of each listener brought, until `stop` is set, all sources have ended, or each was heard for
    `duration` seconds.

    One listener waits in its source; several are asked in turns, with one sleep for all between two rounds. Whatever
    ends it, open events are closed. Raises DeviceError and AudioError from a source, BundleError from the model.
    """
    running, failure = list(listeners), None
    try:
        while running and not stop.is_set():
            several = len(running) > 1
            if several:
                sleep(min(listener.patience for listener in running))
            for listener in tuple(running):
                yield listener, listener.step(0.0 if several else None)
                if listener.ended(duration):
                    running.remove(listener)
                    yield listener, listener.finish(whole=not stop.is_set())
    except EdgecapError as error:
        failure = error
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    deadline = time.monotonic() + DRAIN_SECONDS
    for listener in running:
        gasp = max(0.0, deadline - time.monotonic())
        try:
            yield listener, listener.finish(whole=False, answers=failure is None, gasp=gasp)
        except EdgecapError as error:
            failure = failure or error
    if failure is not None:
        raise failure
