"""Events of sounds that have a name, beside those of captions: one for each name, several may be open at once.

A named sound is also part of the caption's event that it falls into: in its `sounds`, and in its sentence by the rule
of `edgecap.in_words`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from edgecap.in_words import in_words
from edgecap.live.config.events_config import EventsConfig
from edgecap.live.events.describe import HeardSound
from edgecap.live.events.event import Change, Event
from edgecap.live.events.similarity import stems
from edgecap.sounds.names import folded, is_same

REMEMBERED = 64
LEAST_CONFIDENCE = 1e-6
LATER = 0.001
"""Seconds by which its event begins later: files and the page know events by their beginning, and a caption's may begin
there too."""


def is_called(wanted: str, name: str, identifier: str) -> bool:
    """Whether a word of a filter means a named sound: its name, its identifier, or a content word of its name."""
    if is_same(wanted, name, identifier):
        return True
    word = folded(wanted)
    return len(word.split()) == 1 and (word in folded(name).split() or bool(stems(wanted) & stems(name)))


class NamedSounds:
    """Takes what was recognised in one stream, gives the changes of events."""

    def __init__(
        self,
        settings: EventsConfig,
        source: Callable[[], str],
        ids: Iterator[int],
        number: int,
        unix: Callable[[float], float],
    ) -> None:
        """As `edgecap.live.events.event.EventBuilder`."""
        self._settings, self._source, self._ids, self._number = settings, source, ids, number
        self._unix = unix
        self.only, self.ignore = settings.only, settings.ignore
        """Filters, which may be replaced."""
        self._open: dict[str, tuple[Event, float]] = {}
        """Identifier to its open event, and the seconds that this stays open without its sound."""
        self._past: deque[Event] = deque(maxlen=REMEMBERED)

    def hear(self, heard: HeardSound, level: float, hold: float = 0.0) -> list[Change]:
        """A sound was recognised, `level` dBFS loud; its event stays open for `hold` seconds if that is longer."""
        score = math.log(max(LEAST_CONFIDENCE, heard.confidence))
        if heard.identifier in self._open:
            before, hold = self._open[heard.identifier]
            if heard.end <= before.end and score <= before.score:
                return []
            [sound] = before.sounds
            sound = replace(sound, confidence=max(sound.confidence, heard.confidence), end=max(sound.end, heard.end))
            event = replace(
                before,
                end=sound.end,
                ended=self._unix(sound.end),
                score=max(before.score, score),
                level_dbfs=max(before.level_dbfs, level),
                updates=before.updates + 1,
                sounds=(sound,),
            )
            self._open[heard.identifier] = event, hold
            return [Change("update", event, self._number)]
        if not self._passes(heard) or any(
            past.named == heard.identifier and heard.end <= past.end for past in self._past
        ):
            return []
        start = heard.start + LATER
        event = Event(
            id=next(self._ids),
            start=start,
            end=heard.end,
            began=self._unix(start),
            ended=self._unix(heard.end),
            text=heard.name,
            score=score,
            level_dbfs=level,
            updates=0,
            open=True,
            source=self._source(),
            named=heard.identifier,
            sounds=(heard,),
        )
        self._open[heard.identifier] = event, max(hold, self._settings.close_after)
        return [Change("begin", event, self._number)]

    def quiet_until(self, seconds: float) -> list[Change]:
        """Close what was not heard again up to `seconds` of sound."""
        over = [name for name, (event, hold) in self._open.items() if event.end + hold <= seconds]
        return [self._close(name) for name in over]

    def finish(self) -> list[Change]:
        """Close all."""
        return [self._close(name) for name in list(self._open)]

    def shift(self, seconds: float) -> None:
        """The clock was set `seconds` forward: date open events by the new time."""
        for name, (event, hold) in self._open.items():
            moved = replace(event, began=event.began + seconds, ended=event.ended + seconds)
            self._open[name] = moved, hold

    def with_sounds(self, event: Event, unsaid: Sequence[str] = ()) -> Event:
        """The event of a caption with the named sounds that fall into it; `unsaid` stay out of its sentence."""
        events = [*self._past, *(open_event for open_event, _ in self._open.values())]
        inside = [
            sound for named in events for sound in named.sounds if sound.start <= event.end and sound.end >= event.start
        ]
        best = {sound.identifier: sound for sound in sorted(inside, key=lambda sound: sound.confidence)}
        if not best:
            return event
        sounds = sorted(best.values(), key=lambda sound: -sound.confidence)
        spoken = [sound.name for sound in sounds if sound.identifier not in unsaid]
        text = in_words(event.text, spoken[0]) if spoken else event.text
        return replace(event, text=text, sounds=tuple(sounds))

    def _close(self, identifier: str) -> Change:
        event = replace(self._open.pop(identifier)[0], open=False)
        self._past.append(event)
        return Change("end", event, self._number)

    def _passes(self, heard: HeardSound) -> bool:
        """Whether the filters let it through."""

        def meant(words: Sequence[str]) -> bool:
            return any(is_called(word, heard.name, heard.identifier) for word in words)

        return not meant(self.ignore) and (not self.only or meant(self.only))
