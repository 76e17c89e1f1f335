"""The live page: a sink, and the answers to the requests of the page's scripts.

GET  /about    version, model, window, size of the spectrogram
GET  /events   Server-Sent Events: hello, change, status, sound, bye
GET  /past     ?words=&before=: past events, newest first, from the journal where there is one
POST /caption  a sound; its captions as lines of JSON (`edgecap.web.uploads`)
"""

from __future__ import annotations

import json
import re
import secrets
import time
from base64 import b64encode
from collections.abc import Callable
from http import HTTPStatus

from edgecap._version import __version__
from edgecap.captioner import Captioner
from edgecap.errors import OutputError
from edgecap.live.config.listen_config import ListenConfig
from edgecap.live.events.event import Change
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.sinks.base import Sink, SinkContext
from edgecap.types import LogMel, Notify
from edgecap.util.parsing import parse_address
from edgecap.web.access import AccessPolicy, web_token
from edgecap.web.broadcast import Broadcast, message
from edgecap.web.history import History, search_journal, words_of
from edgecap.web.server import Exchange, Route, WebServer
from edgecap.web.spectrum import Spectrum
from edgecap.web.uploads import Uploads

SOUND_SECONDS = 1 / 30
"""Time from one piece of spectrogram to the next, at the least."""
STATUS_SECONDS = 1.0
FAREWELL_SECONDS = 1.0
"""Time for browsers to take the last message."""
NUMBER = re.compile("[0-9]{1,12}")
MOST_GREETED = 100
"""Events that a browser gets when it connects."""


class _Picture:
    """The spectrogram of one source, and when it and its status are due."""

    def __init__(self, spectrum: Spectrum) -> None:
        self.spectrum = spectrum
        self.sound_due = self.status_at = float("-inf")
        self.shown: tuple[object, ...] = ()


class LivePage(Sink):
    """Serves the page and sends it events, status and sound. Slow browsers cannot hold up the listener."""

    def __init__(
        self, config: ListenConfig, captioner: Captioner, notify: Notify, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Serve at `config.web.address`. Raises ConfigError, OutputError where the port is taken."""
        assert config.web.address is not None
        host, port = parse_address(config.web.address)
        self._config, self._captioner, self._clock = config, captioner, clock
        self._start = secrets.token_hex(4)
        self.broadcast = Broadcast()
        """The browsers. Its lock guards `_statuses` too, which requests read: see `Broadcast.publish`."""
        self._statuses: dict[str, dict[str, object]] = {}
        self._history = History()
        self._pictures: dict[str, _Picture] = {}
        self._names: dict[int, str] = {}
        routes: dict[tuple[str, str], Route] = {
            ("GET", "/about"): self._about,
            ("GET", "/events"): self._events,
            ("GET", "/past"): self._past,
            ("POST", "/caption"): Uploads(captioner, config.model.beam),
        }
        self._server = WebServer(
            host, port, AccessPolicy(host, web_token(config.web, host, notify), config.web.hosts), routes, notify
        )
        self._server.start()
        configured = config.web.token is not None or config.web.token_file is not None  # then it stays out of logs
        notify("note", f"the live page is at {self._server.url if configured else self.url}")

    @property
    def url(self) -> str:
        """Where the page is, with the token where one is needed."""
        return self._server.url_with_token

    @property
    def wants_frames(self) -> bool:
        """While a browser is connected."""
        return self.broadcast.watched

    def on_event(self, change: Change) -> None:
        """Send it to the browsers."""

        def make() -> bytes:
            number = self._history.record(change.event)
            return message("change", _json(change.event.document()), f"{self._start}-{number}")

        self.broadcast.publish(make, keep=True)

    def on_clock_set(self, seconds: float) -> None:
        """Date all events of this run by the new clock, and send them again."""

        def make() -> bytes:
            self._history.shift(seconds)
            return self._hello(None)

        self.broadcast.publish(make, keep=True)

    def on_frames(self, source: str, frames: LogMel) -> None:
        """Add them to the spectrogram."""
        self._picture(source).spectrum.push(frames)

    def on_status(self, status: StatusSnapshot) -> None:
        """Send it once a second and when it changes; send the spectrogram 30 times a second."""
        name = self._names.setdefault(status.number, status.source)
        if name != status.source:  # a microphone's own name is known when it is open
            self._pictures.pop(name, None)
            self._names[status.number] = status.source
        picture, now = self._picture(status.source), self._clock()
        shown = (status.gate_open, status.fault, status.text, status.hop, status.throttled)
        if shown != picture.shown or now - picture.status_at >= STATUS_SECONDS:
            picture.shown, picture.status_at = shown, now

            def make() -> bytes:
                if name != status.source:
                    self._statuses.pop(name, None)
                self._statuses[status.source] = status_document(status)
                return message("status", _json(self._statuses[status.source]))

            self.broadcast.publish(make)
        if not self.wants_frames:
            picture.spectrum.clear()
        elif now >= picture.sound_due:
            self._publish_sound(picture, status, now)

    def close(self) -> None:
        """Say goodbye to the browsers and release the port."""
        self.broadcast.close(message("bye", "{}"), FAREWELL_SECONDS)
        self._server.close()

    def _publish_sound(self, picture: _Picture, status: StatusSnapshot, now: float) -> None:
        """Send the columns that became complete."""
        columns = picture.spectrum.take()
        if not columns:
            return
        # From when it was due, not from now: one that comes a little late must not make the next one late too.
        picture.sound_due = max(picture.sound_due + SOUND_SECONDS, now - SOUND_SECONDS)
        sound = {
            "source": status.source,
            "at": round(status.heard, 3),
            "level": round(status.level, 1),
            "columns": b64encode(columns).decode(),
        }
        self.broadcast.publish(lambda: message("sound", _json(sound)))

    def _picture(self, source: str) -> _Picture:
        if source not in self._pictures:
            self._pictures[source] = _Picture(Spectrum(self._captioner.manifest.front_end))
        return self._pictures[source]

    def _about(self, exchange: Exchange) -> None:
        """GET /about."""
        spectrum = Spectrum(self._captioner.manifest.front_end)
        exchange.reply_json(
            about(self._captioner) | {"live": True, "bands": spectrum.bands, "column_seconds": spectrum.column_seconds}
        )

    def _events(self, exchange: Exchange) -> None:
        """GET /events: until the browser leaves or the listener ends."""
        last = exchange.headers.get("Last-Event-ID") or exchange.query.get("last", "")
        start, _, number = last.partition("-")
        seen = int(number) if start == self._start and NUMBER.fullmatch(number) else None
        watcher = self.broadcast.join(lambda: self._hello(seen))
        if watcher is None:
            exchange.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many browsers are connected", Retry_After="30")
            return
        try:
            exchange.stream("text/event-stream")
            for part in watcher:
                exchange.wfile.write(part)
        finally:
            self.broadcast.leave(watcher)

    def _hello(self, seen: int | None) -> bytes:
        """A browser's first message: events since change number `seen`, or the newest; and each source's status.

        One that was away for longer than events are held begins anew, and requests older ones when it shows them.
        Called under the lock of `broadcast`.
        """
        missed = None if seen is None else self._history.since(seen)
        anew = missed is None
        missed = self._history.newest(MOST_GREETED) if missed is None else missed
        hello = {"anew": anew, "events": missed, "status": [*self._statuses.values()]}
        return message("hello", _json(hello), f"{self._start}-{self._history.number}")

    def _past(self, exchange: Exchange) -> None:
        """GET /past."""
        words = words_of(exchange.query.get("words", ""))
        try:
            before = float(exchange.query.get("before", "inf"))
        except ValueError:
            exchange.refuse(HTTPStatus.BAD_REQUEST, "before must be a Unix time")
            return
        try:
            journal = self._config.output.journal
            events = search_journal(journal, words, before) if journal else self._history.search(words, before)
        except OutputError as error:
            exchange.refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error), Retry_After="5")
            return
        exchange.reply_json({"events": events})


def open_page(context: SinkContext) -> Sink:
    """As configured by [web]. Raises ConfigError, OutputError."""
    return LivePage(context.config, context.captioner, context.notify)


def about(captioner: Captioner) -> dict[str, object]:
    """Version, model, licence and window, for the page's footer."""
    manifest = captioner.manifest
    return {
        "version": __version__,
        "model": manifest.name,
        "licence": manifest.licence.name,
        "window": round(captioner.window, 2),
    }


def status_document(status: StatusSnapshot) -> dict[str, object]:
    """A status as JSON; unknown values are null."""
    return {
        "number": status.number,
        "source": status.source,
        "heard": round(status.heard, 1),
        "level": round(status.level, 1),
        "floor": None if status.floor is None else round(status.floor, 1),
        "gate": status.gate_open,
        "hop": round(status.hop, 2),
        "asked_hop": status.asked_hop,
        "load": round(status.load, 4),
        "seconds": round(status.seconds, 3),
        "latency": round(status.latency, 3),
        "captions": status.captions,
        "quiet": status.quiet,
        "dropped": status.dropped,
        "lost": round(status.lost, 1),
        "overflows": status.overflows,
        "events": status.events,
        "celsius": status.celsius,
        "throttled": status.throttled,
        "fault": status.fault,
        "kept": status.audio_kept,
        "beams": [{"text": text, "score": round(score, 4)} for text, score in status.beams],
    }


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False)
