"""A listener whose steps bring the events of named sounds too: taught ones, alarms by pattern, what captions say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgecap.audio.frontend import FrontEnd
from edgecap.live.config.events_config import EventsConfig
from edgecap.live.events.alerts import WORD_ALERTS, said
from edgecap.live.events.describe import HeardSound
from edgecap.live.events.event import Change
from edgecap.live.events.named import NamedSounds
from edgecap.live.listener import Listener
from edgecap.live.loop import DRAIN_SECONDS
from edgecap.live.pipeline.status import StatusSnapshot, StreamStep
from edgecap.sounds.alarm_patterns import PATTERNS
from edgecap.sounds.alarms import AlarmDetector

PERIODS = 2.5
"""Periods of an alarm's pattern without a group after which its event ends."""
SURE_DECIBELS = 1.0
"""An alarm that passes its bounds by this much more has half the doubt."""
BY_WORDS = tuple(alert.identifier for alert in WORD_ALERTS)


class NamedListener:
    """In place of a `Listener`, for `edgecap.live.loop.steps`."""

    def __init__(
        self,
        listener: Listener,
        front_end: FrontEnd,
        settings: EventsConfig,
        alerts: Sequence[str],
        *,
        ids: Iterator[int],
        number: int = 0,
    ) -> None:
        """`alerts` are identifiers of `edgecap.live.events.alerts.NAMES`."""
        self._listener, self._alerts = listener, alerts
        patterns = [pattern for pattern in PATTERNS if pattern.identifier in alerts]
        self._detector = AlarmDetector(front_end, patterns) if patterns else None
        self._named = NamedSounds(settings, lambda: self.status.source, ids, number, listener.time.unix)
        self._lost, self._events = 0.0, 0
        self.status: StatusSnapshot = listener.status
        """As of the end of the last step."""

    @property
    def patience(self) -> float:
        """Seconds until a step may bring something."""
        return self._listener.patience

    def step(self, wait: float | None = None) -> StreamStep:
        """As `Listener.step`."""
        step = self._listener.step(wait)
        return self._with_sounds(step, self._alarms(step), until=step.status.heard)

    def ended(self, duration: float | None = None) -> bool:
        """As `Listener.ended`."""
        return self._listener.ended(duration)

    def finish(self, *, caption_rest: bool = False, drain: float | None = DRAIN_SECONDS) -> StreamStep:
        """As `Listener.finish`."""
        step = self._with_sounds(self._listener.finish(caption_rest=caption_rest, drain=drain), [], until=0.0)
        return replace(step, changes=(*step.changes, *self._named.finish()))

    def clock_set(self, seconds: float) -> None:
        """As `Listener.clock_set`."""
        self._listener.clock_set(seconds)
        self._named.shift(seconds)

    def close(self) -> None:
        """As `Listener.close`."""
        self._listener.close()

    def _alarms(self, step: StreamStep) -> list[Change]:
        """Events of the alarms in new sound."""
        status, changes = step.status, list[Change]()
        self._named.only, self._named.ignore = status.live.only, status.live.ignore  # they may change while listening
        if self._detector is None:
            return changes
        if status.lost > self._lost or status.fault or status.live.paused:
            self._detector.restart()
            self._lost = status.lost
        for heard in [] if step.frames is None else self._detector.push(step.frames, status.heard):
            confidence = 1.0 - 0.5 * math.pow(2.0, -heard.margin / SURE_DECIBELS)
            pattern = heard.pattern
            sound = HeardSound(pattern.name, pattern.identifier, confidence, heard.start, heard.end)
            changes += self._named.hear(sound, status.loudest, PERIODS * pattern.period)
        return changes

    def _with_sounds(self, step: StreamStep, changes: list[Change], until: float) -> StreamStep:
        """A step with the events of named sounds, of which nothing more will come up to `until`, and captions that
        name them.
        """
        for sound in step.heard:
            changes += self._named.hear(sound, step.status.loudest)
        for change in step.changes:
            event = change.event
            for alert in said(self._alerts, event.text, event.end - event.start):
                sound = HeardSound(alert.name, alert.identifier, event.confidence, event.start, event.end)
                changes += self._named.hear(sound, event.level_dbfs)
        changes += self._named.quiet_until(until)
        begun = sum(change.kind == "begin" for change in changes)
        captions = [
            replace(change, event=self._named.with_sounds(change.event, unsaid=BY_WORDS)) for change in step.changes
        ]
        self._events += begun
        now = step.status.event
        shown = None if now is None else self._named.with_sounds(now, unsaid=BY_WORDS)
        self.status = step.status.updated({"events": step.status.events + self._events, "event": shown})
        return replace(step, status=self.status, changes=(*changes, *captions))
