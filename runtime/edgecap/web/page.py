"""The live page: a place for events like any other, and the answers that the page's scripts ask for.

GET  /about    what this is: model, window, colours of the picture, whether sound is kept
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
from edgecap.live.pipeline.status import Status
from edgecap.live.sinks.base import Sink
from edgecap.live.sources.source import Tell
from edgecap.types import LogMel
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
"""Time that browsers have to hear that this is the end."""
NUMBER = re.compile("[0-9]{1,12}")
MOST_GREETED = 100
"""Events that a browser gets when it comes."""


class _Stream:
    """What the page knows of one source."""

    def __init__(self, spectrum: Spectrum) -> None:
        self.spectrum = spectrum
        self.sound_due = self.status_at = float("-inf")
        self.shown: tuple[object, ...] = ()
        self.status: dict[str, object] = {}


class LivePage(Sink):
    """Serves the page and brings it what is heard. Whoever looks at it cannot hold up the listener."""

    def __init__(
        self, config: ListenConfig, captioner: Captioner, tell: Tell, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Serve at `config.web.address`. Raises ConfigError, OutputError where the port is taken."""
        assert config.web.address is not None
        host, port = parse_address(config.web.address)
        self._config, self._captioner, self._clock = config, captioner, clock
        self._start = secrets.token_hex(4)
        self.broadcast = Broadcast()
        """Who watches."""
        self._history = History()
        self._streams: dict[str, _Stream] = {}
        self._names: dict[int, str] = {}
        routes: dict[tuple[str, str], Route] = {
            ("GET", "/about"): self._about,
            ("GET", "/events"): self._events,
            ("GET", "/past"): self._past,
            ("POST", "/caption"): Uploads(captioner, config.model.beam),
        }
        self._server = WebServer(
            host, port, AccessPolicy(host, web_token(config.web, host), config.web.hosts), routes, tell
        )
        self._server.start()
        known = config.web.token is not None or config.web.token_file is not None  # and belongs into no log
        tell("note", f"the live page is at {self._server.url if known else self.url}")

    @property
    def url(self) -> str:
        """Where the page is, with the token where one is needed."""
        return self._server.whole_url

    @property
    def watched(self) -> bool:  # type: ignore[override]
        """See `Sink.watched`."""
        return self.broadcast.watched

    def change(self, change: Change) -> None:
        """See `Sink.change`."""

        def make() -> bytes:
            number = self._history.record(change.event)
            return message("change", _json(change.event.document()), f"{self._start}-{number}")

        self.broadcast.tell(make, keep=True)

    def moved(self, seconds: float) -> None:
        """See `Sink.moved`: all events of this run get the times that they would have had by the new clock."""

        def make() -> bytes:
            self._history.move(seconds)
            return self._hello(None)

        self.broadcast.tell(make, keep=True)

    def hear(self, source: str, frames: LogMel) -> None:
        """See `Sink.hear`."""
        self._stream(source).spectrum.push(frames)

    def tick(self, status: Status) -> None:
        """See `Sink.tick`."""
        known = self._names.setdefault(status.number, status.source)
        if known != status.source:  # a microphone's own name is known when it is open
            self._streams.pop(known, None)
            self._names[status.number] = status.source
        stream, now = self._stream(status.source), self._clock()
        shown = (status.gate_open, status.fault, status.text, status.hop, status.throttled)
        if shown != stream.shown or now - stream.status_at >= STATUS_SECONDS:
            stream.shown, stream.status_at, stream.status = shown, now, status_document(status)
            self.broadcast.tell(lambda: message("status", _json(stream.status)))
        if not self.watched:
            stream.spectrum.clear()
        elif now >= stream.sound_due:
            self._tell_sound(stream, status, now)

    def close(self) -> None:
        """See `Sink.close`."""
        self.broadcast.close(message("bye", "{}"), FAREWELL_SECONDS)
        self._server.close()

    def _tell_sound(self, stream: _Stream, status: Status, now: float) -> None:
        """Send the columns that became whole."""
        columns = stream.spectrum.take()
        if not columns:
            return
        # From when it was due, not from now: what comes a little late must not make the next one late too.
        stream.sound_due = max(stream.sound_due + SOUND_SECONDS, now - SOUND_SECONDS)
        sound = {
            "source": status.source,
            "at": round(status.heard, 3),
            "level": round(status.level, 1),
            "columns": b64encode(columns).decode(),
        }
        self.broadcast.tell(lambda: message("sound", _json(sound)))

    def _stream(self, source: str) -> _Stream:
        if source not in self._streams:
            self._streams[source] = _Stream(Spectrum(self._captioner.manifest.front_end))
        return self._streams[source]

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
            exchange.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many browsers watch already", Retry_After="30")
            return
        try:
            exchange.stream("text/event-stream")
            for part in watcher:
                exchange.wfile.write(part)
        finally:
            self.broadcast.leave(watcher)

    def _hello(self, seen: int | None) -> bytes:
        """What a browser is told first: events since change number `seen`, or the newest; and each source's status.

        One that was away for longer than events are held begins anew, and asks for older ones as it shows them.
        """
        missed = None if seen is None else self._history.since(seen)
        anew = missed is None
        missed = self._history.newest(MOST_GREETED) if missed is None else missed
        statuses = [stream.status for stream in self._streams.copy().values() if stream.status]
        hello = {"anew": anew, "events": missed, "status": statuses}
        return message("hello", _json(hello), f"{self._start}-{self._history.number}")

    def _past(self, exchange: Exchange) -> None:
        """GET /past."""
        words = words_of(exchange.query.get("words", ""))
        try:
            before = float(exchange.query.get("before", "inf"))
        except ValueError:
            exchange.refuse(HTTPStatus.BAD_REQUEST, "before is a Unix time")
            return
        try:
            journal = self._config.output.journal
            found = search_journal(journal, words, before) if journal else self._history.search(words, before)
        except OutputError as error:
            exchange.refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error), Retry_After="5")
            return
        exchange.reply_json({"events": found})


def about(captioner: Captioner) -> dict[str, object]:
    """What a page that captions sounds says of itself."""
    manifest = captioner.manifest
    return {
        "version": __version__,
        "model": manifest.name,
        "licence": manifest.licence.name,
        "window": round(captioner.window, 2),
    }


def status_document(status: Status) -> dict[str, object]:
    """What goes on, as JSON; what is not known is null."""
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
