"""What a place for events must be able to do, and a bounded outbox for those that take their time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from edgecap.live.events.event import Change
from edgecap.live.pipeline.status import Status
from edgecap.live.sources.source import Tell
from edgecap.types import LogMel, Waveform

Item = TypeVar("Item")


class Sink:
    """A place for events. Nothing here may wait for long: what does goes through an `Outbox`."""

    watched = False
    """Whether someone follows the sound itself now, so that `hear` is called and steps come quickly."""

    recording = False
    """Whether it keeps the sound itself, so that `record` is called."""

    def change(self, change: Change) -> None:
        """An event began, went on or ended. Raises OutputError where going on makes no sense."""

    def tick(self, status: Status) -> None:
        """Called with each step of the listener, some four times a second or more."""

    def hear(self, source: str, frames: LogMel) -> None:
        """Called while `watched` with the frames of log-mel that became whole, (n, n_mels) float32, each once."""

    def record(self, source: str, samples: Waveform, heard: float) -> None:
        """Called while `recording` with new samples (n,) at the model's rate, which end after `heard` seconds."""

    def moved(self, seconds: float) -> None:
        """The system's clock was set forward by so many seconds, or back where that is less than 0."""

    def close(self) -> None:
        """Deliver what is left within a few seconds, then let go."""


class NotDeliveredError(Exception):
    """A delivery failed; `again` says whether trying once more may help."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


class Outbox(Generic[Item]):
    """Delivers items in a thread of its own, in order, with a bounded number of tries and a bounded queue."""

    def __init__(
        self,
        name: str,
        deliver: Callable[[Item], None],
        tell: Tell,
        *,
        limit: int = 100,
        tries: int = 5,
        first_delay: float = 1.0,
        longest_delay: float = 60.0,
        grace: float = 5.0,
    ) -> None:
        """`deliver` raises NotDeliveredError. The second try comes after `first_delay` seconds, the next later.

        When `limit` items wait, the oldest is given up. `close` goes on for `grace` seconds.
        """
        self.delivered = self.lost = 0
        self._name, self._deliver, self._tell = name, deliver, tell
        self._tries, self._first_delay, self._longest_delay, self._grace = tries, first_delay, longest_delay, grace
        self._queue: deque[Item] = deque()
        self._limit = limit
        self._in_hand = False
        self._change = threading.Condition()
        self._deadline: float | None = None
        self._failing = False
        self._thread = threading.Thread(target=self._run, name=f"edgecap {name}", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Queue an item; never waits."""
        with self._change:
            if len(self._queue) >= self._limit:
                self._queue.popleft()
                self.lost += 1
            self._queue.append(item)
            self._change.notify_all()

    def close(self) -> None:
        """Deliver what waits, within the time of grace."""
        with self._change:
            self._deadline = time.monotonic() + self._grace
            self._change.notify_all()
        self._thread.join(self._grace + 1.0)
        with self._change:
            left = len(self._queue) + self._in_hand
            self.lost += left
            if left:
                self._tell("warning", f"{self._name}: {left} events were not delivered")

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._queue or self._deadline is not None)
                if not self._queue or self._late():
                    return
                item, self._in_hand = self._queue.popleft(), True
            if not self._try(item):
                return  # still in hand: `close` counts it
            self._in_hand = False

    def _try(self, item: Item) -> bool:
        """Deliver one item, with all its tries; whether it was delivered or given up before the time was over."""
        delay = self._first_delay
        for attempt in range(1, self._tries + 1):
            try:
                self._deliver(item)
            except NotDeliveredError as error:
                last = not error.again or attempt == self._tries
                self._report(str(error), last)
                if last:
                    self.lost += 1
                    break
                if not self._pause(delay):
                    return False
                delay = min(self._longest_delay, 2.0 * delay)
            else:
                self.delivered += 1
                if self._failing:
                    self._failing = False
                    self._tell("note", f"{self._name} works again")
                break
        return True

    def _report(self, reason: str, last: bool) -> None:
        """Tell the first failure of a row, and each item that is given up."""
        if last:
            self._tell("warning", f"{self._name}: an event was not delivered ({reason})")
        elif not self._failing:
            self._tell("warning", f"{self._name}: {reason}; trying again")
        self._failing = True

    def _pause(self, seconds: float) -> bool:
        """Wait, less where the end was asked for; whether there is time for another try."""
        with self._change:
            self._change.wait_for(lambda: self._deadline is not None, seconds)
            if self._deadline is None:
                return True
            self._change.wait_for(lambda: False, max(0.0, min(seconds, self._deadline - time.monotonic())))
            return not self._late()

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline
