"""The live page: a sink, and the answers to the requests of the page's scripts.

GET  /about    version, model, window, size of the spectrogram
GET  /events   Server-Sent Events: hello, change, status, sound, bye
POST /settings other settings (`edgecap.web.controls`)
POST /caption  a sound; its captions as lines of JSON (`edgecap.web.uploads`)

What it answers about past events is in `edgecap.web.events.past`, about days in `edgecap.web.events.summaries`, about
teaching in `edgecap.web.events.lessons`.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus

from edgecap._version import __version__
from edgecap.audio.decoders.media import media_available
from edgecap.captioner import Captioner
from edgecap.live.config.listen_config import ListenConfig
from edgecap.live.config.live_settings import LiveBox
from edgecap.live.events.event import Change, iso
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.sinks.base import Sink, SinkContext
from edgecap.types import LogMel, Notify, Waveform
from edgecap.util.parsing import parse_address
from edgecap.web.access import access_of
from edgecap.web.broadcast import Broadcast, message
from edgecap.web.controls import Controls
from edgecap.web.events.history import History
from edgecap.web.events.lessons import Lessons
from edgecap.web.events.past import PastEvents
from edgecap.web.events.summaries import Summaries
from edgecap.web.picture import SourcePicture
from edgecap.web.recent import RecentSound
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


class LivePage(Sink):
    """Serves the page and sends it events, status and sound. Slow browsers cannot hold up the listener."""

    def __init__(
        self,
        config: ListenConfig,
        captioner: Captioner,
        notify: Notify,
        *,
        live: LiveBox | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Serve at `config.web.address`; `live` takes new settings, where they can be changed.

        Raises ConfigError, OutputError where the port is taken.
        """
        assert config.web.address is not None
        host, port = parse_address(config.web.address)
        self._captioner, self._clock, self._wall = captioner, clock, wall
        self._start = secrets.token_hex(4)
        self.broadcast = Broadcast()
        """The browsers. Its lock guards what requests read of the two below too: see `Broadcast.publish`."""
        self._statuses: dict[str, dict[str, object]] = {}
        self._pictures: dict[str, SourcePicture] = {}
        self._history = History()
        self._names: dict[int, str] = {}
        kept, front_end = config.output.keep_audio, captioner.manifest.front_end
        self._past = PastEvents(self._history, config.output.journal, kept, front_end)
        self._recent = RecentSound(front_end.sample_rate)
        routes: dict[tuple[str, str], Route] = {
            **self._past.routes,
            ("GET", "/about"): self._about,
            ("GET", "/events"): self._events,
            **Lessons(captioner, self._past, self._recent).routes,
            ("POST", "/caption"): Uploads(captioner, config.model.beam),
        }
        if config.output.journal:
            routes |= Summaries(config.output.journal).routes
        self._adjustable, self._summaries = live is not None, bool(config.output.journal)
        if live is not None:
            routes["POST", "/settings"] = Controls(live)
        self._server = WebServer(host, port, access_of(config.web, host, notify), routes, notify)
        self._server.start()
        configured = config.web.token is not None or config.web.token_file is not None  # then it stays out of logs
        notify("note", f"the live page is at {self._server.url if configured else self.url}")

    @property
    def url(self) -> str:
        """Where the page is, with the token where one is needed."""
        return self._server.url_with_token

    wants_frames = True  # a browser that comes gets the last half minute
    wants_audio = True

    @property
    def followed(self) -> bool:
        """While a browser is connected."""
        return self.broadcast.watched

    def on_event(self, change: Change) -> None:
        """Send it to the browsers."""

        sound = "" if change.kind != "end" else self._past.sound_of(change.event)

        def make() -> bytes:
            number = self._history.record(change.event, sound)
            return message("change", _json(change.event.document(sound=sound)), f"{self._start}-{number}")

        self.broadcast.publish(make, keep=True)

    def on_clock_set(self, seconds: float) -> None:
        """Date all events of this run by the new clock, and send them again."""

        def make() -> bytes:
            self._history.shift(seconds)
            for picture in self._pictures.values():
                picture.since += seconds
            return self._hello(None)

        self.broadcast.publish(make, keep=True)

    def on_frames(self, source: str, frames: LogMel) -> None:
        """Add them to the spectrogram."""
        self._picture(source).spectrum.push(frames)

    def on_audio(self, source: str, samples: Waveform, end: float) -> None:
        """Hold the last ten seconds, in memory."""
        self._recent.push(source, samples, end)

    def on_status(self, status: StatusSnapshot) -> None:
        """Send it once a second and when it changes; send the spectrogram 30 times a second."""
        if status.fault or status.paused:
            self._recent.forget(status.source)
        self.broadcast.publish(lambda: self._status(status))
        self.broadcast.publish(lambda: self._sound(status))

    def _status(self, status: StatusSnapshot) -> bytes:
        """What browsers get of a status, if it is time to. Called under the lock of `broadcast`, as `_hello` is."""
        name = self._names.setdefault(status.number, status.source)
        if name != status.source:  # a microphone's own name is known when it is open
            self._pictures.pop(name, None)
            self._statuses.pop(name, None)
            self._names[status.number] = status.source
        picture, now = self._picture(status.source), self._clock()
        picture.look(status, self._wall())
        shown = (status.gate_open, status.fault, status.text, status.hop, status.throttled, status.live)
        if shown == picture.shown and now - picture.status_at < STATUS_SECONDS:
            return b""
        picture.shown, picture.status_at = shown, now
        self._statuses[status.source] = status_document(status) | {"since": iso(picture.since)}
        return message("status", _json(self._statuses[status.source]))

    def _sound(self, status: StatusSnapshot) -> bytes:
        """The columns that became complete, if it is time to."""
        picture, now = self._picture(status.source), self._clock()
        sound = picture.take(status) if now >= picture.sound_due else None
        if sound is None:
            return b""
        # From when it was due, not from now: one that comes a little late must not make the next one late too.
        picture.sound_due = max(picture.sound_due + SOUND_SECONDS, now - SOUND_SECONDS)
        return message("sound", _json(sound))

    def close(self) -> None:
        """Say goodbye to the browsers and release the port."""
        self.broadcast.close(message("bye", "{}"), FAREWELL_SECONDS)
        self._server.close()

    def _picture(self, source: str) -> SourcePicture:
        if source not in self._pictures:
            self._pictures[source] = SourcePicture(self._captioner.manifest.front_end)
        return self._pictures[source]

    def _about(self, exchange: Exchange) -> None:
        """GET /about."""
        spectrum = Spectrum(self._captioner.manifest.front_end)
        exchange.reply_json(
            about(self._captioner)
            | {"live": True, "bands": spectrum.bands, "column_seconds": spectrum.column_seconds}
            | {"adjustable": self._adjustable, "summaries": self._summaries}
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
        """A browser's first message: events since change number `seen`, or the newest; each source's status and sound.

        One that was away for longer than events are held begins anew, and requests older ones when it shows them.
        Called under the lock of `broadcast`.
        """
        missed = None if seen is None else self._history.since(seen)
        anew = missed is None
        missed = self._history.latest(MOST_GREETED) if missed is None else missed
        sounds = [picture.held(source) for source, picture in list(self._pictures.items())]
        hello = {"anew": anew, "events": missed, "status": [*self._statuses.values()], "sounds": sounds}
        return message("hello", _json(hello), f"{self._start}-{self._history.number}")


def open_page(context: SinkContext) -> Sink:
    """As configured by [web]. Raises ConfigError, OutputError."""
    return LivePage(context.config, context.captioner, context.notify, live=context.live)


def about(captioner: Captioner) -> dict[str, object]:
    """Version, model, licence and window, for the page's footer, and whether more formats of sound can be read."""
    manifest = captioner.manifest
    return {
        "version": __version__,
        "model": manifest.name,
        "licence": manifest.licence.name,
        "window": round(captioner.window, 2),
        "media": media_available(),
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
        "settings": asdict(status.live),
        "beams": [{"text": text, "score": round(score, 4)} for text, score in status.beams],
    }


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False)
