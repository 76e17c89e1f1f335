"""Teaching from the page: the kept sound of a past event is an example of a sound with a name.

POST /teach  {"began", "source", "name", "more"}: the event, what it is, and whether this is one more example of a sound
             of that name; answers with the sound's name, its examples, and what the user should know

Sounds lie where `edgecap teach` saves and `edgecap listen` reads them; a running listener follows them.
"""

from __future__ import annotations

import threading
from http import HTTPStatus
from pathlib import Path

from edgecap.captioner import Captioner
from edgecap.errors import ConfigError, EdgecapError, OutputError
from edgecap.sounds.store import SoundStore
from edgecap.teaching.examples import read_example
from edgecap.teaching.lesson import TeachRequest, teach_sound
from edgecap.web.events.past import PastEvents
from edgecap.web.server import Exchange

MOST_BYTES = 4096
TURN_SECONDS = 10.0
"""Wait for the lesson before."""


class Lessons:
    """Answers requests to learn a sound, one at a time for all browsers, in the thread of the request."""

    def __init__(self, captioner: Captioner, past: PastEvents) -> None:
        self._captioner, self._past = captioner, past
        self._turn = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        """Answer POST /teach."""
        fields = exchange.receive_json(MOST_BYTES)
        if fields is None:
            return
        name, more = fields.get("name"), fields.get("more", False)
        if not isinstance(name, str) or not isinstance(more, bool):
            exchange.refuse(HTTPStatus.BAD_REQUEST, "name is text, and more is true or false")
            return
        sound = self._past.open_sound(exchange, fields)
        if sound is None:
            return
        with sound:
            if not self._turn.acquire(timeout=TURN_SECONDS):
                exchange.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "another sound is being learnt", Retry_After="5")
                return
            try:
                document = self._teach(Path(f"/proc/self/fd/{sound.fileno()}"), TeachRequest(name.strip(), more=more))
            except OutputError as error:
                exchange.try_later(error)
                return
            except EdgecapError as error:
                exchange.refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
                return
            finally:
                self._turn.release()
        exchange.reply_json(document)

    def _teach(self, file: Path, request: TeachRequest) -> dict[str, object]:
        store = SoundStore()
        if not request.more and store.holds(request.name):
            raise ConfigError(
                f"there is a sound called {request.name!r} already; tick “one more example of it”, or take another name"
            )
        example = read_example(self._captioner, file, "the sound of this event")
        lesson = teach_sound(self._captioner, store, request, [example])
        return {"name": lesson.sound.name, "examples": len(lesson.sound.examples), "notes": lesson.notes}
