"""One stream: sound in, changes of events out.

One thread reads the source, keeps the log-mel ring, the levels and the gate, and never waits for the model; a
worker, which several streams may share, captions the newest window. What is held is bounded: a window of sound in the
source, a window of log-mel, one window in the worker's mailbox and one in its hands. Whoever is slow loses windows,
which are counted, and is never more than a window behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from edgecap.audio.samples import LEVEL_BLOCK_SECONDS
from edgecap.captioner import Captioner
from edgecap.live.events.describe import Described, Describer, WindowJob
from edgecap.live.events.event import Change, EventBuilder
from edgecap.live.loop import DRAIN_SECONDS, steps
from edgecap.live.pipeline.gate import Gate
from edgecap.live.pipeline.hop_control import Pace
from edgecap.live.pipeline.meter import LevelMeter
from edgecap.live.pipeline.settings import ListenerSettings
from edgecap.live.pipeline.status import Status
from edgecap.live.pipeline.stream import MelStream
from edgecap.live.pipeline.worker import CaptionWorker, Mailbox
from edgecap.live.sinks.base import Sink
from edgecap.live.sources.source import AudioSource, Tell
from edgecap.live.thermal import Heat, look

IDLE_POLL = 0.25
"""Longest wait for sound, seconds, where no caption is on its way."""
WATCHED_POLL = 1 / 30
"""The same while someone follows the sound."""
BUSY_POLL = 0.02
DEAD_SECONDS = 10.0
"""A source that gives one constant value for so long is told to be at fault."""
HEAT_EVERY = 10.0
LOUDEST_SECONDS = 10.0
"""The loudest block of so many seconds is in the status."""
ONSET = 1.0
"""Seconds of a new sound that are heard before it is captioned."""
LEAD_IN = 0.5
"""Quiet kept before a sound, seconds."""
SHORTEST_WINDOW = 1.0
"""Least that a window reaches back, seconds."""
SHORTEST_TAIL = 0.5
"""What is left when the sound ends is captioned where it brings so many seconds."""


class Listener:
    """Listens to one source. Use `changes`, or `edgecap.live.loop.steps` for several."""

    def __init__(
        self,
        captioner: Captioner,
        source: AudioSource,
        settings: ListenerSettings,
        tell: Tell,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        heat: Callable[[], Heat] = look,
        describe: Callable[[WindowJob], Described] | None = None,
        sinks: Sequence[Sink] = (),
        worker: CaptionWorker | None = None,
        ids: Iterator[int] | None = None,
        number: int = 0,
        several: bool = False,
    ) -> None:
        """`several` streams share a `worker` and `ids` of events, and have a `number` each. `sinks` may follow the
        sound; `describe` stands in for the model in tests of timing. Raises ValueError for a wrong window or hop.
        """
        captioner.check_windows(window=settings.window, hop=settings.hop)
        front_end, encoder = captioner.manifest.front_end, captioner.manifest.encoder
        self._rate = front_end.sample_rate
        self._source, self._settings, self._tell = source, settings, tell
        self._clock, self._wall, self._look, self._several = clock, wall, heat, several
        frames = min(encoder.window_frames, front_end.frames(round(settings.window * self._rate)))
        self._sinks = sinks
        self._mel = MelStream(front_end, frames)
        self._fewest = min(frames, encoder.frames_per_memory)
        self._meter = LevelMeter(self._rate, max(settings.window, LOUDEST_SECONDS))
        self._gate = Gate(settings.gate) if settings.gate else None
        self._pace = Pace(settings.hop)
        self._pace.restart(settings.phase)
        self._events = EventBuilder(settings.events, lambda: source.name, ids)
        worker, self._own = worker or CaptionWorker(), worker is None
        self._worker = worker
        self._mailbox: Mailbox[WindowJob, Described] = worker.mailbox(
            describe or Describer(captioner, beam=settings.beam, novelty=settings.novelty, clock=clock)
        )
        self._samples = 0
        self._loud = False
        self._onset = self._sounded = self._looked_at = 0.0
        self._offered = -settings.hop
        self._next_heat, self._began, self._last = clock(), wall(), clock()
        self._dead = False
        self._moved = (float("-inf"), 0.0)
        self.status = Status(source=source.name, hop=settings.hop, asked_hop=settings.hop, number=number)
        """What goes on, for views; replaced in place, so read it freely from other threads."""

    @property
    def heard(self) -> float:
        """Seconds of sound so far."""
        return self._samples / self._rate

    @property
    def patience(self) -> float:
        """Seconds until there may be something to do: a window that is due, a caption that is ready, new sound."""
        if self._mailbox.idle:
            idle = WATCHED_POLL if any(sink.watched for sink in self._sinks) else IDLE_POLL
            return min(idle, max(BUSY_POLL, self._pace.next - self.heard))
        return BUSY_POLL

    def ended(self, duration: float | None = None) -> bool:
        """Whether the source has ended, or `duration` seconds were heard."""
        return self._source.ended or (duration is not None and self.heard >= duration)

    def changes(self, stop: threading.Event, duration: float | None = None) -> Iterator[Change]:
        """Changes of this stream's events, as `crank.steps` gives them."""
        for _, changes in steps([self], stop, duration):
            yield from changes

    def step(self, wait: float | None = None) -> list[Change]:
        """Take what came, caption what is due, give what is new.

        Waits only for sound, at most `wait` seconds; as long as `patience` says where None is given.
        """
        self._take(self.patience if wait is None else wait)
        if self._pace.due(self.heard):
            self._offer()
        self._check_heat()
        changes = self._collect()
        if self._mailbox.idle and not (self._gate is None or self._gate.open):
            changes += self._events.tick(self.heard)  # what sounds and was not captioned yet may be the same
        if self._clock() - self._last >= self._settings.events.close_after:
            changes += self._events.finish()  # the source gives nothing: unplugged, or a pipe that stalls
        self._note(changes)
        return changes

    def moved(self, seconds: float) -> None:
        """The system's clock was set `seconds` forward: what is open is dated by the new one."""
        self._moved = (self._clock(), seconds)
        self._began += seconds
        self._events.move(seconds)

    def slept(self, seconds: float) -> list[Change]:
        """The machine was suspended for so long: an event that was open before is over."""
        changes = self._events.finish() if seconds >= self._settings.events.close_after else []
        self._note(changes)
        return changes

    def finish(self, *, whole: bool, answers: bool = True, gasp: float = DRAIN_SECONDS) -> list[Change]:
        """Close the open event, and the worker where it is this listener's own.

        `whole` captions what is left when the sound came to its end; `answers` waits for a caption on its way, at most
        `gasp` seconds.
        """
        try:
            if whole and self.heard - self._looked_at >= SHORTEST_TAIL:
                self._offer()
            if answers:
                self._mailbox.wait(gasp)
            changes = (self._collect() if answers else []) + self._events.finish()
            self._note(changes)
        finally:
            self.close()
        return changes

    def close(self) -> None:
        """Ask for no more captions; `steps` does so by itself, this is for a listener that was never walked."""
        self._mailbox.empty()
        if self._own:
            self._worker.close(DRAIN_SECONDS)

    def _take(self, wait: float) -> None:
        """Move new sound into ring, meter and gate."""
        chunk = self._source.read(wait)
        status = self.status
        status.overflows = self._source.overflows
        if chunk.fresh and self._samples:
            self._mel.restart()
            self._meter.restart()
            self._pace.restart(self.heard)
        status.lost += chunk.lost
        self._samples += round(chunk.lost * self._rate)
        if not chunk.samples.size:
            return
        self._last = self._clock()
        whole = self._mel.push(chunk.samples)
        self._samples += chunk.samples.size
        for sink in self._sinks:
            if sink.watched and whole:
                sink.hear(self._source.name, self._mel.newest(whole))
            if sink.recording:
                sink.record(self._source.name, chunk.samples, self.heard)
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
        held = min(self._settings.window, (self._mel.frames + 1) * self._mel.frame_seconds)
        if not loud or self._sounded <= end - held:  # what was loud may be older, as with a hop longer than a window
            status.quiet += 1
            return
        self._offered = end
        frames = self._mel.window(self._frames_since_onset(end))
        start = max(0.0, end - min(self._settings.window, (frames.shape[1] + 1) * self._mel.frame_seconds))
        sounded = end if end - self._sounded < LEVEL_BLOCK_SECONDS else self._sounded
        self._mailbox.submit(
            WindowJob(frames, start, end, self._meter.loudest(since), self._wall_now(), self._clock(), sounded)
        )
        if self._source.lossless:
            self._mailbox.wait()

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
        for answer in self._mailbox.poll():
            described = self._dated(answer)
            status.captions += 1
            status.reused += described.reused
            status.seconds = described.seconds
            status.latency = self._clock() - described.job.asked
            status.slowest = max(status.slowest, status.latency)
            status.text, status.score = described.beams[0].text, described.beams[0].score
            status.beams = tuple((beam.text, beam.score) for beam in described.beams)
            self._say(self._pace.took((described.waited + described.seconds) * self._source.speed))
            changes += self._events.hear(described, self._onset)
        status.dropped = self._mailbox.dropped + self._pace.late
        return changes

    def _dated(self, described: Described) -> Described:
        """The answer, dated by the clock as it goes now even if it was set while the model was at work."""
        at, seconds = self._moved
        if described.job.asked >= at:
            return described
        return replace(described, job=replace(described.job, wall=described.job.wall + seconds))

    def _check_dead(self) -> None:
        flat = self._meter.flat_seconds
        if flat >= DEAD_SECONDS and not self._dead:
            self._dead = True
            self._tell(
                "warning",
                f"{self._source.name} has given nothing but one constant value for {flat:.0f} s; see "
                "whether it is muted, and whether its cable is plugged in",
            )
        elif self._dead and flat == 0.0:
            self._dead = False
            self._tell("note", f"{self._source.name} gives sound again")

    def _check_heat(self) -> None:
        if self._clock() < self._next_heat:
            return
        self._next_heat = self._clock() + HEAT_EVERY
        heat = self._look()
        self.status.celsius, self.status.throttled = heat.celsius, heat.throttled
        message = self._pace.heat(heat.hot)
        if message and not self.status.number:  # the board is the same for all
            self._tell("warning", message)

    def _say(self, message: str) -> None:
        if message:
            self._tell("warning", f"{self._source.name}: {message}" if self._several else message)

    def _note(self, changes: list[Change]) -> None:
        """Bring the status up to date."""
        status = self.status
        status.source = self._source.name
        status.fault = self._source.fault or ("digital silence" if self._dead else "")
        status.heard, status.level, status.loudest = self.heard, self._meter.now, self._meter.loudest(LOUDEST_SECONDS)
        status.hop = self._pace.hop
        status.gate_open = self._gate is None or self._gate.open
        status.floor = None if self._gate is None else self._gate.floor
        status.suppressed = self._events.suppressed
        status.events += sum(change.kind == "begin" for change in changes)
        status.event = self._events.event
