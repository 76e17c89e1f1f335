"""Stand-ins for what a test of timing controls: the clock, the sound, the model's time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from edgecap.caption import Beam
from edgecap.errors import EdgecapError
from edgecap.live.clocks import Clocks
from edgecap.live.events.describe import Described, WindowJob, unit
from edgecap.live.events.event import Change, Event, Kind
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.sources.source import NOTHING, Chunk
from edgecap.types import Notify, Waveform

Messages = list[tuple[str, str]]
"""What was notified: kind and text."""


class Clock:
    """Time that passes when the test says so; sleeping is passing."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Machine:
    """The three clocks of a machine: Unix time, time that ran, time since boot."""

    def __init__(self, wall: float = 1e9) -> None:
        self.wall, self.running, self.boot = wall, 100.0, 100.0

    def run(self, seconds: float) -> None:
        self.wall, self.running, self.boot = self.wall + seconds, self.running + seconds, self.boot + seconds

    def suspend(self, seconds: float) -> None:
        self.wall, self.boot = self.wall + seconds, self.boot + seconds

    def clocks(self) -> Clocks:
        return Clocks(lambda: self.wall, lambda: self.running, lambda: self.boot)


class FedSource:
    """A source that gives what the test puts in."""

    lossless, speed, ended, overflows, fault = False, 1.0, False, 0, ""

    def __init__(self, name: str = "the test", *, live: bool = False) -> None:
        """`live` where the test moves the clock with the sound."""
        self.name, self.live = name, live
        self.chunks: list[Chunk] = []
        self.failure: EdgecapError | None = None

    def feed(self, samples: Waveform, lost: float = 0.0, fresh: bool = False) -> None:
        self.chunks.append(Chunk(samples, lost, fresh))

    def read(self, timeout: float) -> Chunk:
        if self.failure is not None:
            raise self.failure
        return self.chunks.pop(0) if self.chunks else Chunk(NOTHING)

    def wait_for_reader(self) -> bool:
        return False

    def close(self) -> None:
        pass


def described(
    text: str,
    start: float,
    end: float,
    *,
    score: float = -0.5,
    sound: int = 0,
    level: float = -20.0,
    sounded: float | None = None,
) -> Described:
    """A caption of a window; windows of the same `sound` have the same embedding."""
    job = WindowJob(NOTHING, start, end, level, 0.0, end if sounded is None else sounded)
    embedding = np.zeros(8, np.float32)
    embedding[sound] = 1.0
    return Described(job, (Beam(text, score, ()),), unit(embedding), False, 0.01)


def says(text: str = "a dog barks", before: Callable[[], None] = lambda: None) -> Callable[[WindowJob], Described]:
    """A model that says one thing, after `before` has returned."""

    def describe(job: WindowJob) -> Described:
        before()
        return replace(described(text, job.start, job.end), job=job)

    return describe


def change(kind: Kind = "end", number: int = 1, text: str = "a dog barks", began: float = 1_700_000_000.0) -> Change:
    event = Event(number, 3661.5, 3665.25, began, began + 3.75, text, -0.4567, -12.34, 2, kind != "end", "USB")
    return Change(kind, event)


def story(number: int = 1, text: str = "a dog barks") -> list[Change]:
    return [change("begin", number, text), change("update", number, text), change("end", number, text)]


def notifier(messages: Messages) -> Notify:
    """Collects messages."""
    return lambda kind, text: messages.append((kind, text))


def ignore(_kind: str, _text: str) -> None:
    """Takes messages that a test does not look at."""


def usb_status(**values: Any) -> StatusSnapshot:
    """A status of the microphone USB."""
    return StatusSnapshot(**{"source": "USB", "asked_hop": 2.0, "hop": 2.0, **values})


class Recorder:
    """A model that says one thing, and the windows that it got."""

    def __init__(self) -> None:
        self.jobs: list[WindowJob] = []

    def __call__(self, job: WindowJob) -> Described:
        self.jobs.append(job)
        return says()(job)
