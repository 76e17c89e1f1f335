"""One stream: sound in, `StreamStep`s out.

The thread that calls `step` reads the source, keeps the log-mel ring, the levels and the gate, and never waits for the
model; a worker thread, which streams share, captions the newest window. Held are a window of sound in the source, one
of log-mel, one in the worker's mailbox and one being captioned. A slow model loses windows, which are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgecap.audio.samples import LEVEL_BLOCK_SECONDS
from edgecap.captioner import Captioner
from edgecap.live.clocks import LARGEST_LAG, LARGEST_LEAD, Clocks, SoundClock, boot_time
from edgecap.live.events.describe import Described, Describer, HeardSound, WindowJob
from edgecap.live.events.event import Change, EventBuilder
from edgecap.live.loop import DRAIN_SECONDS
from edgecap.live.pipeline.gate import Gate
from edgecap.live.pipeline.hop_control import HopControl
from edgecap.live.pipeline.liveness import Liveness
from edgecap.live.pipeline.meter import LevelMeter
from edgecap.live.pipeline.settings import ListenerSettings
from edgecap.live.pipeline.status import StatusSnapshot, StreamStep
from edgecap.live.pipeline.stream import FRAMES_AT_ONCE, MelStream
from edgecap.live.pipeline.worker import CaptionWorker, Mailbox
from edgecap.live.sources.source import NOTHING, AudioSource, Chunk
from edgecap.live.thermal import Heat, look
from edgecap.types import LogMel, Notify, Waveform

IDLE_POLL, FOLLOWED_POLL, BUSY_POLL = 0.25, 1 / 30, 0.02
"""Longest wait for sound, seconds: usually, while someone follows the sound, while a caption is being made."""
HEAT_EVERY = 10.0
LOUDEST_SECONDS = 10.0
"""The loudest block of this many seconds is in the status."""
ONSET, LEAD_IN = 2.0, 0.1
"""Seconds of a new sound before its first and its second caption, and of the quiet before it that are kept."""
SHORTEST_WINDOW, SHORTEST_TAIL = 1.0, 0.5
"""Least that a window reaches back, and least that is captioned when the sound ends, seconds."""


class Listener:
    """Listens to one source; `edgecap.live.loop.steps` runs one or several. All calls come from one thread."""

    def __init__(
        self,
        captioner: Captioner,
        source: AudioSource,
        settings: ListenerSettings,
        notify: Notify,
        worker: CaptionWorker,
        *,
        clock: Callable[[], float] = boot_time,
        clocks: Clocks | None = None,
        heat: Callable[[], Heat] = look,
        describe: Callable[[WindowJob], Described] | None = None,
        followed: Callable[[], bool] = lambda: False,
        ids: Iterator[int] | None = None,
        number: int = 0,
    ) -> None:
        """Several streams share a `worker` and the `ids` of events, and have a `number` each.

        They share `clocks` too. While `followed` is true, steps come quickly. `describe` stands in for the model in
        tests of timing. Raises ValueError for a wrong window or hop.
        """
        captioner.check_windows(window=settings.window, hop=settings.hop)
        front_end, encoder = captioner.manifest.front_end, captioner.manifest.encoder
        self._rate = front_end.sample_rate
        self._source, self._settings, self._notify = source, settings, notify
        self._clock, self._look, self._followed = clock, heat, followed
        self.time = SoundClock(self._rate, clocks or Clocks(running=clock, boot=clock), live=source.live)
        frames = min(encoder.window_frames, front_end.frames(round(settings.window * self._rate)))
        self._mel = MelStream(front_end, frames)
        self._fewest = min(frames, encoder.frames_per_memory)
        self._meter = LevelMeter(self._rate, max(settings.window, LOUDEST_SECONDS))
        self._gate = Gate(settings.gate) if settings.gate else None
        self._hops = HopControl(settings.hop, phase=settings.phase)
        self._events = EventBuilder(settings.events, lambda: source.name, ids, number, self.time.unix)
        self._mailbox: Mailbox[WindowJob, Described] = worker.mailbox(
            describe or Describer(captioner, beam=settings.beam, novelty=settings.novelty, clock=clock)
        )
        self._loud = self._held_up = False
        self._heard: list[HeardSound] = []
        self._liveness = Liveness(
            source, notify, clock, lost_after=settings.lost_after, constant_after=settings.constant_after
        )
        self._onset = self._last_loud = self._considered = 0.0
        self._offered, self._next_heat = -settings.hop, clock()
        self._status = StatusSnapshot(
            source=source.name, hop=settings.hop, asked_hop=settings.hop, number=number, audio_kept=settings.audio_kept
        )
        self.status = self._status
        """As of the end of the last step."""

    @property
    def heard(self) -> float:
        """Seconds of sound so far, with what was lost."""
        return self.time.heard

    @property
    def patience(self) -> float:
        """Seconds until a step may bring something: a window that is due, a caption that is ready, new sound."""
        if self._mailbox.idle:
            idle = FOLLOWED_POLL if self._followed() else IDLE_POLL
            return min(idle, max(BUSY_POLL, self._hops.next - self.heard))
        return BUSY_POLL

    def ended(self, duration: float | None = None) -> bool:
        """Whether the source has ended, or has given `duration` seconds."""
        return not self._held_up and (self._source.ended or (duration is not None and self.heard >= duration))

    def step(self, wait: float | None = None) -> StreamStep:
        """Take new sound, have a window captioned where one is due, collect captions; `wait` stands in for `patience`.

        Raises DeviceError, AudioError, BundleError.
        """
        if self._held_up:  # a recording waits for its caption
            self._held_up = not self.drain(IDLE_POLL)
            return self._end_step(self._collect())
        chunk = self._read(self.patience if wait is None else wait)
        frames = self._take(chunk)
        last = self._source.lossless and self._source.ended and self.heard - self._considered >= SHORTEST_TAIL
        if self._hops.due(self.heard) or last:
            self._offer()
        self._check_heat()
        changes = self._collect()
        if self._mailbox.idle and not (self._gate is None or self._gate.open):
            changes += self._events.settle() + self._events.quiet_until(self.heard)  # all sound has its captions
        if self._source.live and self._clock() - self._liveness.last_sound >= self._settings.events.close_after:
            changes += self._events.finish()  # the source gives nothing: unplugged, or a pipe that stalls
        return self._end_step(changes, chunk.samples, frames)

    def clock_set(self, seconds: float) -> None:
        """`clocks` has seen that Unix time was set `seconds` forward: the open event is dated by the new time."""
        self._events.shift(seconds)

    def finish(self, *, caption_rest: bool = False, drain: float | None = DRAIN_SECONDS) -> StreamStep:
        """Close the open event; `caption_rest` captions the sound since the last window.

        A caption that is being made may take `drain` seconds more; ignored where that is None. Raises BundleError.
        """
        try:
            if caption_rest and self.heard - self._considered >= SHORTEST_TAIL:
                self._offer()
            if drain is not None:
                self.drain(drain)
            changes = [] if drain is None else self._collect()
            return self._end_step(changes + self._events.finish())
        finally:
            self.close()

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until every window is captioned; whether that took at most `timeout` seconds."""
        return self._mailbox.drain(timeout)

    def close(self) -> None:
        """Drop the window that waits to be captioned."""
        self._mailbox.empty()

    def _read(self, wait: float) -> Chunk:
        """New sound; of a source that is ahead of time and cannot be held up only what is due."""
        asked = self._clock()
        chunk = self._source.read(wait)
        self._liveness.stopped(self._clock() - asked - wait)
        due = round((LARGEST_LEAD - self.time.lead) * self._rate)
        if not self._source.live or chunk.samples.size <= due or not self.heard:
            return chunk
        if self._liveness.too_fast():
            self.time.free()
            return chunk
        return Chunk(chunk.samples[: max(0, due)])

    def _take(self, chunk: Chunk) -> LogMel | None:
        """New sound into the ring, the meter and the gate; the new log-mel frames."""
        if not chunk.samples.size:
            if self._liveness.no_samples():
                self._interrupt()
            return None
        lost = self.time.missing(chunk.samples.size, chunk.lost)
        if (self._liveness.samples() or lost >= LARGEST_LAG or chunk.fresh) and self.heard:
            self._interrupt()
            self._mel.restart()
            self._hops.restart(self.heard + lost)
        if lost:
            self.time.add(lost)
            self._update(lost=self._status.lost + lost)
        self.time.add(chunk.samples.size / self._rate)
        levels = self._meter.push(chunk.samples)
        for behind, level in zip(range(len(levels) - 1, -1, -1), levels, strict=True):
            self._gate_block(level, self.heard - behind * LEVEL_BLOCK_SECONDS)
        needed = self._hops.is_due(self.heard) or self._source.lossless or self._source.ended or self._followed()
        count = self._mel.push(chunk.samples, 1 if needed else FRAMES_AT_ONCE)
        self._liveness.constant(self._meter.flat_seconds)
        return self._mel.newest(count) if count else None

    def _interrupt(self) -> None:
        """What comes next does not continue what was heard: caption the rest of that."""
        if self._loud and self.heard - self._considered >= SHORTEST_TAIL:
            self._offer()
        self._meter.restart()
        if self._gate is not None:
            self._gate.close()

    def _gate_block(self, level: float, end: float) -> None:
        """Pass one block of level `level`, which ended at `end`, through the gate."""
        if self._gate is None:
            self._loud, self._last_loud = True, end
            return
        was_open = self._gate.open
        if self._gate.push(level):
            self._loud, self._last_loud = True, end
            if not was_open:
                self._onset = end - LEVEL_BLOCK_SECONDS
                first = self._onset + min(ONSET, self._hops.hop)
                self._hops.restart_at(max(first, self._offered + self._hops.hop))

    def _offer(self) -> None:
        """Hand the newest window to the worker, unless it is quiet or too short."""
        end = self.heard
        self._update(windows=self._status.windows + 1)
        loud, self._loud, since, self._considered = self._loud, False, end - self._considered, end
        self._mel.push(NOTHING)  # where sound was interrupted, some frames may still wait
        if self._mel.frames < self._fewest:
            return
        held = min(self._settings.window, (self._mel.frames + 1) * self._mel.frame_seconds)
        if not loud or self._last_loud <= end - held:  # the loud part may be older, as with a hop longer than a window
            self._update(quiet=self._status.quiet + 1)
            return
        self._offered = end
        frames = self._mel.newest(self._frames_since_onset(end))
        start = max(0.0, end - min(self._settings.window, (len(frames) + 1) * self._mel.frame_seconds))
        sounded = end if end - self._last_loud < LEVEL_BLOCK_SECONDS else self._last_loud
        place = self._mel.end - len(frames), len(frames) == self._mel.most
        self._mailbox.submit(WindowJob(frames, start, end, self._meter.loudest(since), self._clock(), sounded, *place))
        self._held_up = self._source.lossless and not self.drain(IDLE_POLL)

    def _frames_since_onset(self, end: float) -> int | None:
        """Frames that a window needs to reach back to the quiet before the gate opened; None for all.

        Ten seconds of which the last half are a sound describe the quiet: "followed by silence".
        """
        if self._gate is None:
            return None
        seconds = max(SHORTEST_WINDOW, end - self._onset + LEAD_IN)
        return max(self._fewest, round(seconds / self._mel.frame_seconds))

    def _collect(self) -> list[Change]:
        """Captions that are ready, as changes of events."""
        changes: list[Change] = []
        for described in self._mailbox.poll():
            status = self._status
            latency = self._clock() - described.job.asked
            self._update(
                captions=status.captions + 1,
                reused=status.reused + described.reused,
                beams=tuple((beam.text, beam.score) for beam in described.beams),
                seconds=described.seconds,
                latency=latency,
                slowest=max(status.slowest, latency),
            )
            if message := self._hops.caption_took((described.waited + described.seconds) * self._source.speed):
                self._notify("warning", f"{self._source.name}: {message}")
            changes += self._events.add(described, self._onset)
            self._heard += described.heard
            if self._events.unsettled:
                self._hops.at_latest(self._offered + max(ONSET, 2.0 * described.seconds * self._source.speed))
        return changes

    def _check_heat(self) -> None:
        if self._clock() < self._next_heat:
            return
        self._next_heat = self._clock() + HEAT_EVERY
        heat = self._look()
        self._update(celsius=heat.celsius, throttled=heat.throttled)
        if (message := self._hops.board_is(hot=heat.hot)) and not self._status.number:
            self._notify("warning", message)

    def _update(self, **values: object) -> None:
        self._status = self._status.updated(values)

    def _end_step(self, changes: list[Change], samples: Waveform = NOTHING, frames: LogMel | None = None) -> StreamStep:
        """Publish the status."""
        heard, self._heard = tuple(self._heard), []
        self._update(
            source=self._source.name,
            fault=self._liveness.fault,
            heard=self.heard,
            level=self._meter.now,
            loudest=self._meter.loudest(LOUDEST_SECONDS),
            hop=self._hops.hop,
            gate_open=not self._liveness.stalled if self._gate is None else self._gate.open,
            floor=None if self._gate is None else self._gate.floor,
            dropped=self._mailbox.dropped + self._hops.late,
            overflows=self._source.overflows,
            suppressed=self._events.suppressed,
            events=self._status.events + sum(change.kind == "begin" for change in changes),
            event=self._events.event,
        )
        self.status = self._status
        return StreamStep(self._status, tuple(changes), samples, frames, heard)
