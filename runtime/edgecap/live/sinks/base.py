"""What a sink does with events, sound and status; what it is opened with; and a bounded outbox for slow ones."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgecap.captioner import Captioner
from edgecap.errors import reason_of
from edgecap.live.config.listen_config import ListenConfig, microphones
from edgecap.live.config.live_settings import LiveBox
from edgecap.live.events.alerts import NAMES, chosen
from edgecap.live.events.event import Change
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.types import LogMel, Notify, Waveform

Item = TypeVar("Item")


class Sink:
    """Where events go. `ListenSession` alone calls it, from one thread; no method may wait: slow work goes through an
    `Outbox`. In each step `on_frames` and `on_audio` come first, then `on_event`, then `on_status`.
    """

    @property
    def followed(self) -> bool:
        """Whether someone follows the sound now: then steps come 30 times a second."""
        return False

    wants_frames = False
    """Whether `on_frames` is called."""
    wants_audio = False
    """Whether `on_audio` is called."""
    fatal: tuple[type[Exception], ...] = ()
    """Exceptions that end the listener; after any other the sink is closed and opened again later."""

    def on_event(self, change: Change) -> None:
        """An event began, was updated or ended."""

    def on_status(self, status: StatusSnapshot) -> None:
        """The status of a source after a step, some four times a second or more."""

    def on_frames(self, source: str, frames: LogMel) -> None:
        """Log-mel frames that became complete, (n, n_mels) float32, each once."""

    def on_audio(self, source: str, samples: Waveform, end: float) -> None:
        """New samples (n,) float32 at the model's rate, which end after `end` seconds of sound."""

    def on_clock_set(self, seconds: float) -> None:
        """The system's clock was set forward by `seconds`, or back if negative."""

    def on_sounds(self, sounds: Mapping[str, str]) -> None:
        """Other named sounds may be heard from now on, identifier to name."""

    def close(self) -> None:
        """Deliver what waits within a few seconds, then release everything."""


@dataclass(frozen=True)
class SinkContext:
    """What sinks are opened with."""

    config: ListenConfig
    captioner: Captioner
    notify: Notify
    live: LiveBox | None = None
    """What can be changed while listening; None where nothing can."""

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.captioner.manifest.name

    @property
    def several(self) -> bool:
        """Whether there are several microphones, so that events need their names."""
        return len(microphones(self.config)) > 1

    @property
    def sounds(self) -> dict[str, str]:
        """The named sounds that may be heard, identifier to name: the chosen alerts and what was taught."""
        matcher = self.captioner.matcher
        taught = {} if matcher is None else {sound.identifier: sound.name for sound in matcher.sounds}
        return {identifier: NAMES[identifier] for identifier in chosen(self.config.events.alerts)} | taught

    @property
    def audio_kept(self) -> bool:
        """Whether the sound of events is stored."""
        return self.config.output.keep_audio is not None


class Attempts:
    """Work that may fail for a while, as on a full disk: only the first failure in a row is reported, and its end."""

    def __init__(
        self, notify: Notify, errors: tuple[type[Exception], ...], report: Callable[[Exception], str], end: str = ""
    ) -> None:
        """`report` makes the message of an error; `end` is that of the first success after errors, none if empty."""
        self._notify, self._errors, self._report, self._end = notify, errors, report, end
        self._failing = False

    def __call__(self, work: Callable[[], object]) -> None:
        """Do it; what is not one of the errors is raised."""
        try:
            work()
        except self._errors as error:
            self.failed(error)
        else:
            if self._failing and self._end:
                self._notify("note", self._end)
            self._failing = False

    def failed(self, error: Exception) -> None:
        """Report a failure, where it is the first."""
        if not self._failing:
            self._notify("warning", self._report(error))
        self._failing = True


class NotDeliveredError(Exception):
    """A delivery failed; `again` says whether trying once more may help."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


class Outbox(Generic[Item]):
    """Delivers items in a separate thread, in order, with a bounded number of tries and a bounded queue."""

    def __init__(
        self,
        name: str,
        deliver: Callable[[Item], None],
        notify: Notify,
        *,
        limit: int = 100,
        tries: int = 5,
        first_delay: float = 1.0,
        longest_delay: float = 60.0,
        grace: float = 5.0,
    ) -> None:
        """`deliver` raises NotDeliveredError. The second try comes after `first_delay` seconds, each next one later.

        When `limit` items wait, the oldest is dropped. `close` goes on for `grace` seconds.
        """
        self._name, self._deliver, self._notify = name, deliver, notify
        self._tries, self._first_delay, self._longest_delay, self._grace = tries, first_delay, longest_delay, grace
        self._limit = limit
        self._failing = False
        self._change = threading.Condition()
        """Guards the four below."""
        self._queue: deque[Item] = deque()
        self._delivering = False
        self._deadline: float | None = None
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name=f"edgecap {name}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Items that were not delivered: dropped from a full queue, failed at every try, or left at the end."""
        with self._change:
            return self._lost

    def put(self, item: Item) -> None:
        """Queue an item; never waits."""
        with self._change:
            if len(self._queue) >= self._limit:
                self._queue.popleft()
                self._lost += 1
            self._queue.append(item)
            self._change.notify_all()

    def close(self) -> None:
        """Deliver what waits, within the time of grace."""
        with self._change:
            self._deadline = time.monotonic() + self._grace
            self._change.notify_all()
        self._thread.join(self._grace + 1.0)
        with self._change:
            left = len(self._queue) + self._delivering
            self._lost += left
        if left:
            self._notify("warning", f"{self._name}: {left} events were not delivered")

    def late(self) -> bool:
        """Whether the time of grace is over, so that a delivery should give up."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._queue or self._deadline is not None)
                if not self._queue or self.late():
                    return
                item, self._delivering = self._queue.popleft(), True
            delivered = self._try(item)
            if delivered is None:
                return  # `close` counts it
            with self._change:
                self._delivering = False
                self._lost += not delivered

    def _try(self, item: Item) -> bool | None:
        """Deliver one item, with all its tries; whether that succeeded, None where the time of grace ended first."""
        delay = self._first_delay
        for attempt in range(1, self._tries + 1):
            try:
                self._deliver(item)
            except Exception as error:  # an unexpected one must not end the thread
                again = isinstance(error, NotDeliveredError) and error.again
                last = not again or attempt == self._tries
                known = isinstance(error, NotDeliveredError)
                self._report(str(error) if known else f"{type(error).__name__}: {reason_of(error)}", last)
                if last:
                    return False
                if not self._pause(delay):
                    return None
                delay = min(self._longest_delay, 2.0 * delay)
            else:
                if self._failing:
                    self._failing = False
                    self._notify("note", f"{self._name} works again")
                return True
        raise AssertionError("the last try returns")

    def _report(self, reason: str, last: bool) -> None:
        """Report the first of several failures, and each item that is dropped."""
        if last:
            self._notify("warning", f"{self._name}: an event was not delivered ({reason})")
        elif not self._failing:
            self._notify("warning", f"{self._name}: {reason}; trying again")
        self._failing = True

    def _pause(self, seconds: float) -> bool:
        """Wait, until the deadline at the latest once there is one; whether there is time for another try."""
        with self._change:
            self._change.wait_for(lambda: self._deadline is not None, seconds)
            if self._deadline is None:
                return True
            self._change.wait_for(lambda: False, max(0.0, min(seconds, self._deadline - time.monotonic())))
            return not self.late()
