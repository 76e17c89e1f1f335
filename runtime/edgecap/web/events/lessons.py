"""Teaching from the page: the kept sound of a past event, or what was just heard, becomes an example of a sound.

POST /take   {"source"}: keep aside the last ten seconds of a microphone, in memory; answers with an id for them, and
             their spectrogram
POST /teach  {"began", "source", "name", "more"}: the event, what it is, and whether this is one more example of a sound
             of that name; or {"taken", "from", "to", "name", "more"}: what was taken, and the seconds of it that count.
             Answers with the sound's name, its examples, and what the user should know
POST /drop   {"taken"}: forget what was taken

Sounds lie where `edgecap teach` saves and `edgecap listen` reads them; a running listener follows them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path

from edgecap.captioner import Captioner
from edgecap.errors import ConfigError, EdgecapError, OutputError
from edgecap.sounds.store import SoundStore
from edgecap.teaching.examples import SoundExample, example_of, read_example
from edgecap.teaching.lesson import TeachRequest, teach_sound
from edgecap.util.limits import MOST_LESSON
from edgecap.web.events.past import PastEvents
from edgecap.web.events.sounds import drawn
from edgecap.web.recent import HELD_SECONDS, RecentSound, TakenSound
from edgecap.web.server import Exchange, Route

TURN_SECONDS = 10.0
"""Wait for the lesson before."""
GONE = "what was taken is no longer there; take the last ten seconds again"


class Lessons:
    """Answers requests to learn a sound, one at a time for all browsers, in the thread of the request."""

    def __init__(self, captioner: Captioner, past: PastEvents, recent: RecentSound) -> None:
        self._captioner, self._past, self._recent = captioner, past, recent
        self._turn = threading.Lock()
        self.routes: dict[tuple[str, str], Route] = {
            ("POST", "/take"): self._take,
            ("POST", "/teach"): self._learn,
            ("POST", "/drop"): self._drop,
        }

    def _take(self, exchange: Exchange) -> None:
        fields = exchange.receive_json(MOST_LESSON)
        if fields is None:
            return
        taken = self._recent.take(str(fields.get("source", "")))
        if taken is None:
            exchange.refuse(HTTPStatus.NOT_FOUND, "nothing is heard of this microphone now")
            return
        exchange.reply_json({"taken": taken.id, **drawn(taken.samples, self._captioner.manifest.front_end)})

    def _drop(self, exchange: Exchange) -> None:
        fields = exchange.receive_json(MOST_LESSON)
        if fields is not None:
            self._recent.drop(str(fields.get("taken", "")))
            exchange.reply_json({})

    def _learn(self, exchange: Exchange) -> None:
        fields = exchange.receive_json(MOST_LESSON)
        if fields is None:
            return
        name, more = fields.get("name"), fields.get("more", False)
        if not isinstance(name, str) or not isinstance(more, bool):
            exchange.refuse(HTTPStatus.BAD_REQUEST, "name is text, and more is true or false")
            return
        request = TeachRequest(name.strip(), more=more)
        if "taken" not in fields:
            sound = self._past.open_sound(exchange, fields)
            if sound is not None:
                with sound:
                    file = Path(f"/proc/self/fd/{sound.fileno()}")
                    self._teach(
                        exchange, request, lambda: read_example(self._captioner, file, "the sound of this event")
                    )
            return
        taken, part = self._recent.taken(str(fields["taken"])), _part(fields)
        if taken is None:
            exchange.refuse(HTTPStatus.NOT_FOUND, GONE)
        elif part is None:
            exchange.refuse(HTTPStatus.BAD_REQUEST, f"from and to are seconds, between 0 and {HELD_SECONDS:g}")
        elif self._teach(exchange, request, lambda: self._example(taken, *part)):
            self._recent.drop(taken.id)

    def _example(self, taken: TakenSound, first: float, last: float) -> SoundExample:
        rate = self._captioner.manifest.front_end.sample_rate
        samples = taken.samples[round(first * rate) : round(last * rate)]
        return example_of(self._captioner, samples, "the sound that was taken")

    def _teach(self, exchange: Exchange, request: TeachRequest, example: Callable[[], SoundExample]) -> bool:
        """Learn, and answer; whether it was learnt."""
        if not self._turn.acquire(timeout=TURN_SECONDS):
            exchange.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "another sound is being learnt", Retry_After="5")
            return False
        try:
            store = SoundStore()
            if not request.more and store.holds(request.name):
                raise ConfigError(
                    f"there is a sound called {request.name!r} already; tick “one more example of it”, or take another "
                    "name"
                )
            lesson = teach_sound(self._captioner, store, request, [example()])
        except OutputError as error:
            exchange.try_later(error)
            return False
        except EdgecapError as error:
            exchange.refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
            return False
        finally:
            self._turn.release()
        sound = lesson.sound
        exchange.reply_json({"name": sound.name, "examples": len(sound.examples), "notes": lesson.notes})
        return True


def _part(fields: Mapping[str, object]) -> tuple[float, float] | None:
    """The seconds that a request names of what was taken, all of it by default; None for what are no such."""
    first, last = fields.get("from", 0.0), fields.get("to", HELD_SECONDS)
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in (first, last)):
        return None
    assert isinstance(first, int | float)
    assert isinstance(last, int | float)
    return (first, last) if 0.0 <= first < last <= HELD_SECONDS else None
