"""The crank: sound in, changes of events out.

One thread reads the source, keeps the log-mel ring, the levels and the gate, and never waits for the model; one
worker captions the newest window. What is held is bounded: a window of sound in the source, a window of log-mel,
one window in the worker's mailbox and one in its hands. Whoever is slow loses windows, which are counted, and is
never more than a window behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgecap.captioner import Captioner
from edgecap.errors import EdgecapError
from edgecap.live.describe import NOVELTY_COSINE, Described, Describer, WindowJob
from edgecap.live.event import Change, EventBuilder, EventSettings
from edgecap.live.gate import Gate, GateSettings
from edgecap.live.level import LevelMeter
from edgecap.live.pace import Pace
from edgecap.live.sinks.base import Sink
from edgecap.live.source import Source, Tell
from edgecap.live.status import Status
from edgecap.live.stream import MelStream
from edgecap.live.thermal import Heat, look
from edgecap.live.worker import Worker
from edgecap.samples import LEVEL_BLOCK_SECONDS

IDLE_POLL = 0.25
"""Longest wait for sound, seconds, where no caption is on its way."""
WATCHED_POLL = 1 / 30
"""The same while someone follows the sound."""
BUSY_POLL = 0.02
DEAD_SECONDS = 10.0
"""A source that gives one constant value for so long is told to be at fault."""
HEAT_EVERY = 10.0
LAST_GASP = 5.0
"""Seconds that a caption may still take after the end was asked for."""
ONSET = 1.0
"""Seconds of a new sound that are heard before it is captioned."""
LEAD_IN = 0.5
"""Quiet kept before a sound, seconds."""
SHORTEST_WINDOW = 1.0
"""Least that a window reaches back, seconds."""
SHORTEST_TAIL = 0.5
"""What is left when the sound ends is captioned where it brings so many seconds."""


@dataclass(frozen=True, kw_only=True)
class ListenerSettings:
    """How a stream is walked and when it is captioned."""

    window: float
    """Seconds captioned at once."""
    hop: float = 2.0
    """Seconds from one caption to the next, as asked for."""
    beam: int | None = None
    gate: GateSettings | None = None
    """None asks the model in quiet too."""
    novelty: float = NOVELTY_COSINE
    events: EventSettings = EventSettings()  # noqa: RUF009 - frozen


class Listener:
    """Listens to one source. Use `changes`, or call `step` and `finish` in a loop of your own."""

    def __init__(
        self, captioner: Captioner, source: Source, settings: ListenerSettings, tell: Tell, *,
        clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time,
        heat: Callable[[], Heat] = look, describe: Callable[[WindowJob], Described] | None = None,
        sinks: Sequence[Sink] = (),
    ) -> None:
        """`sinks` are those that may follow the sound; `describe` stands in for the model in tests of timing.

        Raises ValueError for a wrong window or hop.
        """
        captioner.windows(0.0, window=settings.window, hop=settings.hop)
        front_end, encoder = captioner.manifest.front_end, captioner.manifest.encoder
        self._rate = front_end.sample_rate
        self._source, self._settings, self._tell = source, settings, tell
        self._clock, self._wall, self._look = clock, wall, heat
        frames = min(encoder.window_frames, front_end.frames(round(settings.window * self._rate)))
        self._sinks = sinks
        self._mel = MelStream(front_end, frames)
        self._fewest = min(frames, encoder.frames_per_memory)
        self._meter = LevelMeter(self._rate, settings.window)
        self._gate = Gate(settings.gate) if settings.gate else None
        self._pace = Pace(settings.hop)
        self._events = EventBuilder(settings.events)
        self._worker: Worker[WindowJob, Described] = Worker(
            describe or Describer(captioner, beam=settings.beam, novelty=settings.novelty))
        self._samples = 0
        self._loud = False
        self._onset = self._sounded = self._looked_at = 0.0
        self._offered = -settings.hop
        self._next_heat, self._began, self._last = clock(), wall(), clock()
        self._dead = False
        self.status = Status(source=source.name, hop=settings.hop, asked_hop=settings.hop)
        """What goes on, for views; replaced in place, so read it freely from other threads."""

    @property
    def heard(self) -> float:
        """Seconds of sound so far."""
        return self._samples / self._rate

    def changes(self, stop: threading.Event, duration: float | None = None) -> Iterator[Change]:
        """Changes of events, as `steps` gives them."""
        for changes in self.steps(stop, duration):
            yield from changes

    def steps(self, stop: threading.Event, duration: float | None = None) -> Iterator[list[Change]]:
        """What each step brought, until `stop` is set, the source ends, or `duration` seconds were heard.

        Whatever ends it, the open event is closed. Raises DeviceError and AudioError from the source, BundleError
        from the model.
        """
        failure: EdgecapError | None = None
        try:
            while not (stop.is_set() or self._source.ended or (duration is not None and self.heard >= duration)):
                yield self.step()
        except EdgecapError as error:
            failure = error
        except BaseException:
            self._worker.close(LAST_GASP)
            raise
        yield self.finish(whole=failure is None and not stop.is_set(), answers=failure is None)
        if failure is not None:
            raise failure

    def step(self) -> list[Change]:
        """Take what came, caption what is due, give what is new. Waits only for sound, and not for long."""
        self._take()
        if self._pace.due(self.heard):
            self._offer()
        self._check_heat()
        changes = self._collect()
        if self._worker.idle and not (self._gate is None or self._gate.open):
            changes += self._events.tick(self.heard)  # what sounds and was not captioned yet may be the same
        if self._clock() - self._last >= self._settings.events.close_after:
            changes += self._events.finish()  # the source gives nothing: unplugged, or a pipe that stalls
        self._note(changes)
        return changes

    def finish(self, *, whole: bool, answers: bool = True) -> list[Change]:
        """Close the open event and the worker.

        `whole` captions what is left when the sound came to its end; `answers` waits for a caption on its way.
        """
        try:
            if whole and self.heard - self._looked_at >= SHORTEST_TAIL:
                self._offer()
            if answers:
                self._worker.wait(LAST_GASP)
            changes = (self._collect() if answers else []) + self._events.finish()
            self._note(changes)
        finally:
            self._worker.close(LAST_GASP)
        return changes

    def close(self) -> None:
        """End the worker; `steps` does so by itself, this is for a listener that was never walked."""
        self._worker.close(LAST_GASP)

    def _take(self) -> None:
        """Move new sound into ring, meter and gate."""
        busy = not self._worker.idle
        watching = [sink for sink in self._sinks if sink.watched]
        idle = WATCHED_POLL if watching else IDLE_POLL
        wait = BUSY_POLL if busy else min(idle, max(BUSY_POLL, self._pace.next - self.heard))
        chunk = self._source.read(wait)
        status = self.status
        status.overflows = self._source.overflows
        if chunk.fresh and self._samples:
            self._mel.restart()
            self._meter.restart()
            self._pace.restart(self.heard)
        if chunk.lost:
            status.lost += chunk.lost
            self._samples += round(chunk.lost * self._rate)
        if not chunk.samples.size:
            return
        self._last = self._clock()
        whole = self._mel.push(chunk.samples)
        for sink in watching if whole else ():
            sink.hear(self._source.name, self._mel.newest(whole))
        self._samples += chunk.samples.size
        levels = self._meter.push(chunk.samples)
        for behind, level in zip(range(len(levels) - 1, -1, -1), levels, strict=True):
            self._hear(level, self.heard - behind * LEVEL_BLOCK_SECONDS)
        self._check_dead()

    def _hear(self, level: float, end: float) -> None:
        """Pass one block of level `level`, which ended at `end`, through the gate."""
        if self._gate is None:
            self._loud, self._sounded = True, end
            return
        was_open = self._gate.open
        if self._gate.hear(level):
            self._loud, self._sounded = True, end
            if not was_open:
                self._onset = end - LEVEL_BLOCK_SECONDS
                self._pace.restart_at(max(self._onset + min(ONSET, self._pace.hop), self._offered + self._pace.hop))

    def _offer(self) -> None:
        """Hand the newest window to the worker, unless it is quiet or too short."""
        status, end = self.status, self.heard
        status.windows += 1
        loud, self._loud = self._loud, False
        since, self._looked_at = end - self._looked_at, end
        if self._mel.frames < self._fewest:
            return
        if not loud:
            status.quiet += 1
            return
        self._offered = end
        frames = self._mel.window(self._frames_since_onset(end))
        start = max(0.0, end - min(self._settings.window, (frames.shape[1] + 1) * self._mel.frame_seconds))
        sounded = end if end - self._sounded < LEVEL_BLOCK_SECONDS else self._sounded
        self._worker.submit(WindowJob(frames, start, end, self._meter.loudest(since), self._wall_now(),
                                      self._clock(), sounded))
        if self._source.lossless:
            self._worker.wait()

    def _wall_now(self) -> float:
        """Unix time of the newest sound; a file played faster is dated as if it had been played at its own speed."""
        return self._wall() if self._source.speed == 1.0 else self._began + self.heard

    def _frames_since_onset(self, end: float) -> int | None:
        """Frames that a window needs to reach back to the quiet before the gate opened; None for all.

        Ten seconds of which the last half are a sound describe the quiet: "followed by silence".
        """
        if self._gate is None:
            return None
        seconds = max(SHORTEST_WINDOW, end - self._onset + LEAD_IN)
        return max(self._fewest, round(seconds / self._mel.frame_seconds))

    def _collect(self) -> list[Change]:
        """Take the worker's answers to the events."""
        changes: list[Change] = []
        status = self.status
        for described in self._worker.poll():
            status.captions += 1
            status.reused += described.reused
            status.seconds = described.seconds
            status.latency = self._clock() - described.job.asked
            status.slowest = max(status.slowest, status.latency)
            status.text, status.score = described.beams[0].text, described.beams[0].score
            status.beams = tuple((beam.text, beam.score) for beam in described.beams)
            self._say(self._pace.took(described.seconds * (self._source.speed or 0.0)))
            changes += self._events.hear(described, self._onset)
        status.dropped = self._worker.dropped + self._pace.late
        return changes

    def _check_dead(self) -> None:
        flat = self._meter.flat_seconds
        if flat >= DEAD_SECONDS and not self._dead:
            self._dead = True
            self.status.fault = "digital silence"
            self._tell("warning", f"{self._source.name} has given nothing but one constant value for {flat:.0f} s; see "
                                  "whether it is muted, and whether its cable is plugged in")
        elif self._dead and flat == 0.0:
            self._dead = False
            self.status.fault = ""
            self._tell("note", f"{self._source.name} gives sound again")

    def _check_heat(self) -> None:
        if self._clock() < self._next_heat:
            return
        self._next_heat = self._clock() + HEAT_EVERY
        heat = self._look()
        self.status.celsius, self.status.throttled = heat.celsius, heat.throttled
        self._say(self._pace.heat(heat.hot))

    def _say(self, message: str) -> None:
        if message:
            self._tell("warning", message)

    def _note(self, changes: list[Change]) -> None:
        """Bring the status up to date."""
        status = self.status
        status.heard, status.level = self.heard, self._meter.now
        status.hop = self._pace.hop
        status.gate_open = self._gate is None or self._gate.open
        status.floor = None if self._gate is None else self._gate.floor
        status.suppressed = self._events.suppressed
        status.events += sum(change.kind == "begin" for change in changes)
        status.event = self._events.event
