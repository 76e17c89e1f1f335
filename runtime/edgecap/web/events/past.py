"""Past events for the page: searched, counted, as files for other programs, heard, seen and labelled.

GET  /past      ?words=&source=&confidence=&day=&hours=&before=: events, newest first, from the journal where there is
                one
GET  /overview  ?words=&source=&confidence=&hours=: how many of them on each day, and the names of all microphones
GET  /hours     ?words=&source=&confidence=: how many of them in each hour of the newest days
GET  /export    ?words=&source=&confidence=&day=&hours=&as=: all of them as CSV, oldest first; as=labels and as=raven:
                those of this run that are in memory, whose times count from the start of listening
GET  /sound     ?name=: the kept sound of an event, in ranges where the browser asks for them
GET  /picture   ?began=&source=: the spectrogram of an event's kept sound
POST /label     {"began", "source", "text"}: what an event was (`edgecap.web.events.labels`); no text takes it back

An event is named by its beginning, as in its document, and its microphone: a journal gives it another number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import IO

from edgecap.audio.frontend import FrontEnd
from edgecap.errors import ConfigError, OutputError
from edgecap.live.events.event import Event, iso
from edgecap.util.limits import MOST_EVENTS, MOST_LABEL_BYTES
from edgecap.web.events.history import History
from edgecap.web.events.labels import Labels, label_of
from edgecap.web.events.search import EventStore, JournalReader, Query
from edgecap.web.events.sounds import KeptSounds
from edgecap.web.events.tables import audacity_labels, csv_head, csv_rows, raven_selections
from edgecap.web.server import Exchange, Route

MOST_RESULTS = 50
EXPORTED = 1000
"""Events of a table that are read and sent at once."""
MOST_NAMED = 20
"""Events of one millisecond that are looked at."""
PLAIN = "text/plain; charset=utf-8"


class PastEvents:
    """Answers requests for events, from a journal where there is one, and for their sounds in a folder."""

    def __init__(self, history: History, journal: str | None, sounds: str | None, front_end: FrontEnd) -> None:
        folder = None if sounds is None else Path(sounds).expanduser()
        self._history, self._front_end = history, front_end
        self._labels = None if folder is None else Labels(folder)
        self._sounds = KeptSounds(*([folder, self._labels.folder] if folder and self._labels else []))
        self._store: EventStore = JournalReader(journal) if journal else history
        self.routes: dict[tuple[str, str], Route] = {
            ("GET", "/past"): self._past,
            ("GET", "/overview"): self._overview,
            ("GET", "/hours"): self._hours,
            ("GET", "/export"): self._export,
            ("GET", "/sound"): lambda exchange: self._sounds.send(exchange, exchange.query.get("name", "")),
            ("GET", "/picture"): self._picture,
            ("POST", "/label"): self._label,
        }

    def sound_of(self, event: Event) -> str:
        """The name of the file with the sound of an event of this run that is over; empty where none is kept."""
        return self._sounds.name(event)

    def named(self, exchange: Exchange, fields: Mapping[str, object]) -> tuple[Event, str] | None:
        """The event that a request names by `began` and `source`, and its sound's file; None where it was refused."""
        began, source = str(fields.get("began", "")), str(fields.get("source", ""))
        try:
            time = datetime.fromisoformat(began).timestamp()
            events = self._store.newest(Query(since=time - 0.001, before=time + 0.001), MOST_NAMED)
        except (ValueError, OverflowError, OSError):
            exchange.refuse(HTTPStatus.BAD_REQUEST, "began is that of an event, as 2026-11-28T15:04:05.123+01:00")
            return None
        except OutputError as error:
            exchange.try_later(error)
            return None
        event = next((one for one in events if iso(one.began) == began and one.source == source), None)
        name = "" if event is None or event.open else self._sounds.names([event])[0]
        if event is None or not name:
            exchange.refuse(HTTPStatus.NOT_FOUND, "no sound of such an event is kept, or no longer")
            return None
        return event, name

    def open_sound(self, exchange: Exchange, fields: Mapping[str, object]) -> IO[bytes] | None:
        """The sound of the event that a request names (`named`); None where it was refused."""
        named = self.named(exchange, fields)
        sound = None if named is None else self._sounds.open(named[1])
        if named is not None and sound is None:
            exchange.refuse(HTTPStatus.NOT_FOUND, "this sound is not kept, or no longer")
        return sound

    def _documents(self, events: Sequence[Event]) -> list[dict[str, object]]:
        names, labels = self._sounds.names(events), dict[str, str]()
        if self._labels is not None and any(names):
            with suppress(OutputError):  # told when one is written
                labels = dict(self._labels.texts())
        return [
            event.document(sound=name, label=labels.get(name, "")) for event, name in zip(events, names, strict=True)
        ]

    def _past(self, exchange: Exchange) -> None:
        query = query_of(exchange)
        if query is None:
            return
        try:
            events = self._store.newest(query, MOST_RESULTS)
        except OutputError as error:
            exchange.try_later(error)
            return
        exchange.reply_json({"events": self._documents(events), "more": len(events) == MOST_RESULTS})

    def _overview(self, exchange: Exchange) -> None:
        query = query_of(exchange)
        if query is None:
            return
        try:
            exchange.reply_json({"days": self._store.days(query), "sources": self._store.sources()})
        except OutputError as error:
            exchange.try_later(error)

    def _hours(self, exchange: Exchange) -> None:
        query = query_of(exchange)
        if query is None:
            return
        try:
            exchange.reply_json({"hours": self._store.hours(query)})
        except OutputError as error:
            exchange.try_later(error)

    def _export(self, exchange: Exchange) -> None:
        query = query_of(exchange)
        if query is None:
            return
        form = exchange.query.get("as")
        if form in {"labels", "raven"}:
            events = self._history.next(query, MOST_EVENTS, None)
            rate = self._front_end.sample_rate
            text = audacity_labels(events) if form == "labels" else raven_selections(events, rate)
            name = "edgecap-labels.txt" if form == "labels" else "edgecap.selections.txt"
            exchange.reply(HTTPStatus.OK, text.encode(), PLAIN, **attachment(name))
            return
        try:
            events = self._store.next(query, EXPORTED, None)
        except OutputError as error:
            exchange.try_later(error)
            return
        exchange.begin(HTTPStatus.OK, "text/csv; charset=utf-8", **attachment("edgecap-events.csv"))
        exchange.wfile.write(csv_head().encode())
        while events:
            exchange.wfile.write(csv_rows(events).encode())
            events = self._store.next(query, EXPORTED, events[-1]) if len(events) == EXPORTED else []

    def _picture(self, exchange: Exchange) -> None:
        if named := self.named(exchange, exchange.query):
            event, name = named
            self._sounds.send_picture(exchange, name, event, self._front_end)

    def _label(self, exchange: Exchange) -> None:
        fields = exchange.receive_json(MOST_LABEL_BYTES)
        named = None if fields is None else self.named(exchange, fields)
        if fields is None or named is None or self._labels is None:
            return
        event, name = named
        try:
            label = label_of(text) if (text := str(fields.get("text", "")).strip()) else ""
            if label:
                sound = self._sounds.open(name)
                if sound is None:
                    exchange.refuse(HTTPStatus.NOT_FOUND, "this sound is not kept, or no longer")
                    return
                with sound:
                    self._labels.put(event, name, sound, label)
            else:
                self._labels.remove(name)
        except ValueError as error:
            exchange.refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        except OutputError as error:
            exchange.try_later(error)
        else:
            (document,) = self._documents([event])
            exchange.reply_json(document | {"folder": str(self._labels.folder)})


def attachment(name: str) -> dict[str, str]:
    """A header by which browsers save the answer."""
    return {"Content_Disposition": f'attachment; filename="{name}"'}


def query_of(exchange: Exchange) -> Query | None:
    """What a request asks for; None where it was refused."""
    try:
        return Query.of(exchange.query)
    except (ValueError, OverflowError, ConfigError):
        exchange.refuse(
            HTTPStatus.BAD_REQUEST,
            "confidence is from 0 to 1, day as 2026-11-28, hours as 22-6, and before a Unix time in seconds",
        )
        return None
