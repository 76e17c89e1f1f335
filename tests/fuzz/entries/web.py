"""Raw requests to the page.

Each is handled in this thread, over a connection of its own: threads would cost most of the time. A stream of events
ends after its greeting.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

from edgecap.captioner import Captioner
from edgecap.live.config.listen_config import ListenConfig, OutputConfig
from edgecap.live.config.live_settings import LiveBox, LiveSettings
from edgecap.live.config.web_config import WebConfig
from edgecap.live.events.event import iso
from edgecap.live.sinks.journal import Journal
from edgecap.web.page import LivePage
from fuzz.targets import Opened, void
from support.live_parts import Messages, ignore, notifier
from support.tiny_model import write_tiny_bundle
from support.web_parts import Recorder, status

GETS = (
    "/", "/main.js", "/sign-in.html", "/about", "/events", "/past?words=dog&confidence=0.5&day=2026-11-28&before=1e9",
    "/overview?source=mic", "/hours?words=rain", "/export?as=raven", "/export?as=labels&hours=22-6", "/export",
    "/sound?name=1.flac", "/picture?began=2026-11-28T10:00:00.000+00:00&source=mic", "/summary?day=2026-11-28",
    "/?token=x",
)  # fmt: skip


class _Settled(LiveBox):
    """Settings that are in force at once."""

    def ask(self, given: object, seconds: float) -> tuple[LiveSettings, bool]:
        asked, _ = super().ask(given, 0.0)  # type: ignore[arg-type]
        return asked, True


@contextmanager
def http(folder: Path) -> Iterator[Opened]:
    """A page with an event whose sound is kept."""
    with patch.dict(os.environ, EDGECAP_HOME=str(folder / "home")):
        yield from _http(folder)


def _http(folder: Path) -> Iterator[Opened]:
    captioner = Captioner.load(write_tiny_bundle(folder / "tiny").folder, threads=1)
    messages: Messages = []
    kept, stored = folder / "kept", folder / "events.db"
    output = OutputConfig(journal=str(stored), keep_audio=str(kept))
    live = _Settled(LiveSettings(), lambda _settings: None)
    page = LivePage(ListenConfig(web=WebConfig(address="0"), output=output), captioner, notifier(messages), live=live)
    journal = Journal(str(stored), "30d", ignore, model="tiny")
    event = Recorder(page, kept, journal).event(1)
    page.on_status(status())
    journal.close()
    server = page._server
    host = f"Host: 127.0.0.1:{server.port}\r\n".encode()

    def run(data: bytes) -> None:
        messages.clear()
        with socket.create_server(("127.0.0.1", 0)) as gate, socket.create_connection(gate.getsockname()) as visitor:
            visitor.sendall(data)
            visitor.shutdown(socket.SHUT_WR)
            connection, address = gate.accept()
            with suppress(OSError):  # as `HttpServer.handle_error`
                server.finish_request(connection, address)
            server.shutdown_request(connection)
        assert not messages, messages

    def greeted(greeting: Callable[[], bytes]) -> list[bytes]:
        return [greeting()]

    named = {"began": iso(event.began), "source": event.source}
    posts = {
        "/settings": {"paused": True, "gate": "auto", "hop": 2.0, "only": ["dog"], "ignore": []},
        "/label": {**named, "text": "a dog barks"},
        "/take": {"source": "the test"},
        "/teach": {**named, "name": "our dog", "more": False},
        "/drop": {"taken": "0123"},
    }
    origin = f"Origin: http://127.0.0.1:{server.port}\r\n".encode()
    seeds = [f"GET {path} HTTP/1.1\r\n".encode() + host + b"\r\n" for path in GETS]
    seeds.append(b"GET /events HTTP/1.1\r\n" + host + b"Last-Event-ID: 1-2\r\nCookie: token=x\r\n\r\n")
    seeds.append(b"GET /sound?name=1.flac HTTP/1.1\r\n" + host + b"Range: bytes=0-9\r\n\r\n")
    for path, document in posts.items():
        body = json.dumps(document).encode()
        head = f"POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n".encode()
        seeds.append(head + host + origin + b"\r\n" + body)
    seeds.append(
        b"POST /caption?name=a.wav HTTP/1.1\r\n" + host + origin + b"Content-Type: application/octet-stream\r\n"
        b"Content-Length: 10\r\n\r\n0123456789"
    )
    with patch.object(page.broadcast, "join", greeted), patch.object(page.broadcast, "leave", void):
        yield seeds, run
    page.close()
