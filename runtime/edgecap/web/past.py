"""Past events for the page: searched, counted by day, as a table, and their sound where it is kept.

GET /past      ?words=&source=&confidence=&day=&before=: events, newest first, from the journal where there is one
GET /overview  ?words=&source=&confidence=: how many of them on each day, and the names of all microphones
GET /export    ?words=&source=&confidence=&day=&as=: all of them as CSV, oldest first; as=labels: those of this run that
               are in memory as Audacity's labels, whose times count from the start of listening
GET /sound     ?name=: the kept sound of an event, in ranges where the browser asks for them
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import IO

from edgecap.errors import OutputError
from edgecap.live.events.event import Event
from edgecap.live.sinks.files import COLUMNS, csv_line, csv_row
from edgecap.live.sinks.kept_audio import sound_key, sound_name
from edgecap.util.text import clean
from edgecap.web.history import MOST_EVENTS, History
from edgecap.web.search import EventStore, JournalReader, Query
from edgecap.web.server import Exchange, Route

MOST_RESULTS = 50
EXPORTED = 1000
"""Events of a table that are read and sent at once."""
BLOCK = 1 << 16
SOUND = re.compile(r"(\d{8}T\d{6})-\d{1,12}-([0-9a-f]{8})\.flac")
RANGE = re.compile(r"bytes=(\d{0,12})-(\d{0,12})")


class PastEvents:
    """Answers requests for events, from a journal where there is one, and for their sounds in a folder."""

    def __init__(self, history: History, journal: str | None, sounds: str | None) -> None:
        self._history, self._sounds = history, KeptSounds(sounds)
        self._store: EventStore = JournalReader(journal) if journal else history
        self.routes: dict[tuple[str, str], Route] = {
            ("GET", "/past"): self._past,
            ("GET", "/overview"): self._overview,
            ("GET", "/export"): self._export,
            ("GET", "/sound"): self._sounds,
        }

    def sound_of(self, event: Event) -> str:
        """The name of the file with the sound of an event of this run that is over; empty where none is kept."""
        return self._sounds.name(event)

    def _past(self, exchange: Exchange) -> None:
        query = query_of(exchange)
        if query is None:
            return
        try:
            events = self._store.newest(query, MOST_RESULTS)
        except OutputError as error:
            exchange.try_later(error)
            return
        sounds = self._sounds.names(events)
        documents = [event.document(sound=sound) for event, sound in zip(events, sounds, strict=True)]
        exchange.reply_json({"events": documents, "more": len(events) == MOST_RESULTS})

    def _overview(self, exchange: Exchange) -> None:
        query = query_of(exchange)
        if query is None:
            return
        try:
            exchange.reply_json({"days": self._store.days(query), "sources": self._store.sources()})
        except OutputError as error:
            exchange.try_later(error)

    def _export(self, exchange: Exchange) -> None:
        query = query_of(exchange)
        if query is None:
            return
        if exchange.query.get("as") == "labels":
            lines = "".join(map(label, self._history.next(query, MOST_EVENTS, None)))
            exchange.reply(
                HTTPStatus.OK, lines.encode(), "text/plain; charset=utf-8", **attachment("edgecap-labels.txt")
            )
            return
        try:
            events = self._store.next(query, EXPORTED, None)
        except OutputError as error:
            exchange.try_later(error)
            return
        exchange.begin(HTTPStatus.OK, "text/csv; charset=utf-8", **attachment("edgecap-events.csv"))
        exchange.wfile.write(csv_line(COLUMNS).encode())
        while events:
            exchange.wfile.write("".join(map(csv_row, events)).encode())
            events = self._store.next(query, EXPORTED, events[-1]) if len(events) == EXPORTED else []


class KeptSounds:
    """The files of `--keep-audio`, to be played; no other file of the folder is ever opened."""

    def __init__(self, folder: str | None) -> None:
        self._folder = None if folder is None else Path(folder).expanduser()

    def name(self, event: Event) -> str:
        """The file of an event with its number of this run; empty where there is none."""
        name = sound_name(event)
        return name if self._folder is not None and (self._folder / name).is_file() else ""

    def names(self, events: Iterable[Event]) -> list[str]:
        """The file of each event, whatever its number; empty where there is none."""
        try:
            files = [] if self._folder is None else [path.name for path in self._folder.iterdir()]
        except OSError:
            files = []
        known = {match.groups(): match[0] for file in files if (match := SOUND.fullmatch(file))}
        return [known.get(sound_key(event), "") if known else "" for event in events]

    def __call__(self, exchange: Exchange) -> None:
        """Answer GET /sound?name=NAME."""
        name = exchange.query.get("name", "")
        if self._folder is None or not SOUND.fullmatch(name):
            exchange.refuse(HTTPStatus.NOT_FOUND, "no such sound")
            return
        try:
            file = os.fdopen(os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
        except OSError:
            exchange.refuse(HTTPStatus.NOT_FOUND, "this sound is no longer kept")
            return
        with file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode):
                send_range(exchange, file, status.st_size, "audio/flac")
            else:
                exchange.refuse(HTTPStatus.NOT_FOUND, "no such sound")


def attachment(name: str) -> dict[str, str]:
    """A header by which browsers save the answer."""
    return {"Content_Disposition": f'attachment; filename="{name}"'}


def label(event: Event) -> str:
    """A line of Audacity's label track."""
    return f"{event.start:.6f}\t{event.end:.6f}\t{clean(event.text)}\n"


def query_of(exchange: Exchange) -> Query | None:
    """What a request asks for; None where it was refused."""
    try:
        return Query.of(exchange.query)
    except (ValueError, OverflowError):
        exchange.refuse(
            HTTPStatus.BAD_REQUEST, "confidence is from 0 to 1, day as 2026-11-28, and before a Unix time in seconds"
        )
        return None


def send_range(exchange: Exchange, file: IO[bytes], size: int, content_type: str) -> None:
    """Send a file of `size` bytes, or the one range of it that was asked for (RFC 9110, section 14)."""
    first, last, status = 0, size - 1, HTTPStatus.OK
    match = RANGE.fullmatch(exchange.headers.get("Range", "").strip())
    if match and (match[1] or match[2]):
        first = int(match[1]) if match[1] else max(0, size - int(match[2]))
        last = min(last, int(match[2])) if match[1] and match[2] else last
        if first > last:
            exchange.begin(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, content_type, Content_Range=f"bytes */{size}",
                Content_Length="0",
            )  # fmt: skip
            return
        status = HTTPStatus.PARTIAL_CONTENT
    partial = {"Content_Range": f"bytes {first}-{last}/{size}"} if status is HTTPStatus.PARTIAL_CONTENT else {}
    exchange.begin(status, content_type, Accept_Ranges="bytes", Content_Length=str(last - first + 1), **partial)
    file.seek(first)
    left = last - first + 1
    while left > 0 and (block := file.read(min(BLOCK, left))):
        exchange.wfile.write(block)
        left -= len(block)
