"""Captions to events: what stays the same is one event, and every event ends.

Two windows say the same where their words overlap by `same_words` or more (`edgecap.live.events.similarity`), or
where the encoder's embeddings have a cosine of `same_sound` or more, since the decoder may describe one sound in
different words from window to window. With the tiny model windows of one steady sound have 0.985 to
1.000, of different example sounds 0.17 to 0.68. Both are compared with the caption that the event shows, never with
the previous window, so that one sound cannot change into another within an event.

The first seconds of a sound are often captioned wrongly, with a good score: of 115 recordings after quiet, 32 % began
with a caption that a later one put right, 12 % where two captions in a row had to say the same. So a new event waits
for the second such caption, but no longer than `settle` seconds or until its sound is over.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgecap.live.config.events_config import EventsConfig
from edgecap.live.events.describe import Described, HeardSound
from edgecap.live.events.similarity import overlap, stems


@dataclass(frozen=True, slots=True)
class Event:
    """A sound with a beginning and an end."""

    id: int
    """1 for the first since listening began, of all microphones together."""
    start: float
    """Seconds of sound before it."""
    end: float
    """Seconds of sound up to where it was detected last."""
    began: float
    """Unix time of `start`, by the clock at that time."""
    ended: float
    """Unix time of `end`."""
    text: str
    """The best-scored of its captions, or a broader statement where it is less probable than asked for, in which the
    surest named sound has its name.
    """
    score: float
    """Mean log-probability of that caption."""
    level_dbfs: float
    """Its loudest 100 ms, dB relative to full scale."""
    updates: int
    """Windows with the same sound after the first."""
    open: bool
    """Whether it may still be updated."""
    source: str = ""
    """Name of the microphone, file or pipe."""
    rules: tuple[str, ...] = ()
    """Names of the rules of the configuration that it matches."""
    named: str = ""
    """Identifier of the named sound that it is an event of; empty for an event of captions."""
    sounds: tuple[HeardSound, ...] = ()
    """The named sounds in it, surest first."""
    probability: float | None = None
    """Calibrated, that the main source of its caption is right; None where the model does not know it."""
    model_text: str = ""
    """The best-scored caption in the model's own words, without names; empty for an event of a named sound."""

    @property
    def confidence(self) -> float:
        """The probability; without one the geometric mean of the probabilities that the model gave the words."""
        return math.exp(min(0.0, self.score)) if self.probability is None else self.probability

    def document(self, **more: object) -> dict[str, object]:
        """The event for JSON: times as ISO 8601 with offset beside the seconds of sound."""
        fields = asdict(self)
        del fields["probability"]
        for key in ("start", "end"):
            fields[key] = round(fields[key], 3)
        return {
            **more,
            **fields,
            "rules": list(self.rules),
            "sounds": [sound.document() for sound in self.sounds],
            "score": round(self.score, 4),
            "confidence": round(self.confidence, 3),
            "calibrated": self.probability is not None,
            "level_dbfs": round(self.level_dbfs, 1),
            "began": iso(self.began),
            "ended": iso(self.ended),
        }


Kind = Literal["begin", "update", "end"]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to an event."""

    kind: Kind
    event: Event
    number: int = 0
    """Which of several streams it is, from 0."""


def iso(unix: float) -> str:
    """Unix time as ISO 8601 in local time with its offset, to milliseconds."""
    return datetime.fromtimestamp(unix).astimezone().isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class _Meaning:
    """What captions are compared by."""

    words: frozenset[str]
    embedding: NDArray[np.float32]
    ended: float = 0.0


@dataclass(frozen=True)
class _Candidate:
    """A caption that may begin an event."""

    described: Described
    meaning: _Meaning
    start: float


class EventBuilder:
    """Takes captions in the order of time, gives the changes of events. Driven by the sound alone; reads no clock."""

    def __init__(
        self,
        settings: EventsConfig,
        source: Callable[[], str] = lambda: "",
        ids: Iterator[int] | None = None,
        number: int = 0,
        unix: Callable[[float], float] = lambda seconds: seconds,
    ) -> None:
        """`source` names the stream; builders of several streams share their `ids` and have a `number` each.

        `unix` gives the Unix time of a place in the sound.
        """
        self.suppressed = 0
        """Captions that began no event: filtered, too unsure, or a repetition."""
        self._source, self._ids, self._number = source, ids or count(1), number
        self._candidate: _Candidate | None = None
        self._unix = unix
        self.adjust(settings)
        self._event: Event | None = None
        self._meaning: _Meaning | None = None
        self._past: deque[_Meaning] = deque(maxlen=64)
        self._end = 0.0

    def adjust(self, settings: EventsConfig) -> None:
        """Go on with other settings; what waits to become an event is judged by them."""
        self._settings = settings
        self._only = frozenset().union(*(stems(word) for word in settings.only))
        self._ignore = frozenset().union(*(stems(word) for word in settings.ignore))
        if (waits := self._candidate) is not None:
            best = waits.described.beams[0]
            if not self._wanted(best.text, best.score, waits.meaning):
                self.suppressed += 1
                self._candidate = None

    @property
    def event(self) -> Event | None:
        """The open event."""
        return self._event

    @property
    def unsettled(self) -> bool:
        """Whether a new event waits for a second caption."""
        return self._candidate is not None

    def add(self, described: Described, onset: float = 0.0) -> list[Change]:
        """Take one captioned window; `onset` is where the gate last opened, seconds."""
        job, best = described.job, described.beams[0]
        meaning = _Meaning(stems(best.text), described.embedding)
        start, self._end = max(job.start, min(onset, job.sounded), min(self._end, job.sounded)), job.end
        changes = self.quiet_until(start)  # this window's new part begins here, so until here there was quiet
        before, self._candidate = self._candidate, None
        if self._event is not None and self._same(meaning, self._meaning):
            return [*changes, *self._go_on(described, meaning)]
        agree = False
        if self._wanted(best.text, best.score, meaning):
            agree = before is not None and overlap(meaning.words, before.meaning.words) >= self._settings.same_words
            self._candidate = _Candidate(described, meaning, start if before is None else before.start)
        else:
            self.suppressed += 1
            self._candidate = before
        waited = 0.0 if self._candidate is None else job.end - self._candidate.start
        return [*changes, *self.settle()] if agree or waited >= self._settings.settle else changes

    def settle(self) -> list[Change]:
        """No second caption will come, as where the sound is over: the event that waits for one begins."""
        candidate, self._candidate = self._candidate, None
        if candidate is None:
            return []
        changes, sounded = self._close(), candidate.described.job.sounded
        if any(
            sounded - past.ended <= self._settings.cooldown and self._same(candidate.meaning, past)
            for past in self._past
        ):
            self.suppressed += 1
            return changes
        return [*changes, self._begin(candidate.described, candidate.meaning, candidate.start)]

    def quiet_until(self, seconds: float) -> list[Change]:
        """Nothing new came up to `seconds` of sound: where that is long, what waits begins, and what is open ends."""
        changes, limit = list[Change](), seconds - self._settings.close_after
        if self._candidate is not None and self._candidate.described.job.sounded <= limit:
            changes += self.settle()
        if self._event is not None and self._event.end <= limit:
            changes += self._close()
        return changes

    def shift(self, seconds: float) -> None:
        """The clock was set `seconds` forward: date the open event by the new time."""
        if self._event is not None:
            self._event = replace(self._event, began=self._event.began + seconds, ended=self._event.ended + seconds)

    def finish(self) -> list[Change]:
        """Begin the event that waits for a second caption, and close the open one."""
        return [*self.settle(), *self._close()]

    def _close(self) -> list[Change]:
        if self._event is None or self._meaning is None:
            return []
        event, self._event = replace(self._event, open=False), None
        self._past.append(replace(self._meaning, ended=event.end))
        while self._past and event.end - self._past[0].ended > self._settings.cooldown:
            self._past.popleft()  # nothing is compared with it any more
        return [Change("end", event, self._number)]

    def _begin(self, described: Described, meaning: _Meaning, start: float) -> Change:
        job, best = described.job, described.beams[0]
        self._meaning = meaning
        self._event = Event(
            id=next(self._ids),
            start=start,
            end=job.sounded,
            began=self._unix(start),
            ended=self._unix(job.sounded),
            text=described.said(self._settings.min_confidence),
            score=best.score,
            level_dbfs=job.level,
            updates=0,
            open=True,
            source=self._source(),
            probability=described.probability,
            model_text=best.text,
        )
        return Change("begin", self._event, self._number)

    def _go_on(self, described: Described, meaning: _Meaning) -> list[Change]:
        """The open event continues."""
        event, job, best = self._event, described.job, described.beams[0]
        assert event is not None
        if job.sounded - event.start > self._settings.longest:
            return [*self._close(), self._begin(described, meaning, min(event.end, job.sounded))]
        better = best.score > event.score and self._passes(meaning)
        if better:
            self._meaning = meaning
        self._event = replace(
            event,
            end=max(event.end, job.sounded),
            ended=self._unix(job.sounded),
            text=described.said(self._settings.min_confidence) if better else event.text,
            model_text=best.text if better else event.model_text,
            score=best.score if better else event.score,
            probability=described.probability if better else event.probability,
            level_dbfs=max(event.level_dbfs, job.level),
            updates=event.updates + 1,
        )
        return [Change("update", self._event, self._number)]

    def _same(self, left: _Meaning, right: _Meaning | None) -> bool:
        if right is None:
            return False
        settings = self._settings
        return (
            overlap(left.words, right.words) >= settings.same_words
            or float(left.embedding @ right.embedding) >= settings.same_sound
        )

    def _wanted(self, text: str, score: float, meaning: _Meaning) -> bool:
        return bool(text) and score >= self._settings.min_score and self._passes(meaning)

    def _passes(self, meaning: _Meaning) -> bool:
        """Whether the filters let these words through."""
        return not meaning.words & self._ignore and (not self._settings.only or bool(meaning.words & self._only))
