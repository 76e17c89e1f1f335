"""Counts for Prometheus at http://HOST:PORT/metrics, on this machine alone unless a host is named."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from edgecap.errors import OutputError
from edgecap.live.pipeline.status import Status
from edgecap.live.sinks.base import Sink
from edgecap.util.parsing import parse_address

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_COUNTERS = {
    "heard_seconds": ("heard", "Sound heard."),
    "windows": ("windows", "Hops that passed."),
    "captions": ("captions", "Windows captioned."),
    "captions_reused": ("reused", "Captions for which the decoder was skipped because nothing had changed."),
    "quiet_windows": ("quiet", "Hops that were quiet, so that the model was not asked."),
    "dropped_windows": ("dropped", "Hops without a caption because the one before took too long."),
    "lost_seconds": ("lost", "Sound that was never looked at."),
    "overflows": ("overflows", "Times that the system lost sound before edgecap saw it."),
    "events": ("events", "Events begun."),
    "suppressed_captions": ("suppressed", "Captions filtered, too unsure, or said just before."),
}
_GAUGES = {
    "level_dbfs": ("level", "Level of the newest 100 ms, dB relative to full scale."),
    "noise_floor_dbfs": ("floor", "The gate's noise floor."),
    "gate_open": ("gate_open", "Whether the gate is open."),
    "hop_seconds": ("hop", "Seconds from one caption to the next now."),
    "caption_seconds": ("seconds", "Time that the last caption took."),
    "latency_seconds": ("latency", "From the end of the last window to its caption."),
    "temperature_celsius": ("celsius", "The hottest thermal zone."),
    "throttled": ("throttled", "Whether the board slows itself down."),
    "loudest_dbfs": ("loudest", "Level of the loudest 100 ms of the newest ten seconds."),
}


class Metrics(Sink):
    """A small web server with one page."""

    def __init__(self, address: str) -> None:
        """Serve at "PORT" or "HOST:PORT". Raises ConfigError, OutputError where the port is taken."""
        host, port = parse_address(address)
        self._statuses: dict[int, Status] = {}
        sink = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10.0

            def do_GET(self) -> None:
                """Give the page."""
                found = self.path.partition("?")[0] == "/metrics"
                body = render([*sink._statuses.values()]) if found else "see /metrics\n"
                self.send_response(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)
                self.send_header("Content-Type", CONTENT_TYPE if found else "text/plain")
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing of each visit."""

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            daemon_threads = True

            def server_bind(self) -> None:
                """Bind without asking a name server who we are, which may take long where there is none."""
                TCPServer.server_bind(self)
                self.server_name, self.server_port = host, int(self.server_address[1])

            def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's signature
                """Say nothing of a visitor who left."""
                if not isinstance(sys.exception(), OSError):
                    super().handle_error(request, client_address)

        try:
            self._server = Server((host, port), Handler)
        except OSError as error:
            raise OutputError(
                f"metrics cannot be served at {host}:{port} ({error.strerror or error}); choose another port"
            ) from error
        self.port = int(self._server.server_address[1])
        """The port, also where 0 asked for any."""
        self._thread = threading.Thread(target=self._server.serve_forever, name="edgecap metrics", daemon=True)
        self._thread.start()

    def tick(self, status: Status) -> None:
        """See `Sink.tick`."""
        self._statuses[status.number] = status

    def close(self) -> None:
        """See `Sink.close`."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)


def render(statuses: Sequence[Status]) -> str:
    """The statuses in Prometheus's text format, one sample for each source; what is not known is left out."""
    lines = []
    for kind, table in (("counter", _COUNTERS), ("gauge", _GAUGES)):
        for name, (field, meaning) in table.items():
            values = [(status.source, getattr(status, field)) for status in statuses]
            lines += _metric(f"edgecap_{name}" + ("_total" if kind == "counter" else ""), kind, meaning, values)
    faults = [(status.source, bool(status.fault)) for status in statuses]
    lines += _metric("edgecap_source_fault", "gauge", "Whether the source gives no usable sound.", faults)
    kept = [(status.source, bool(status.audio_kept)) for status in statuses]
    lines += _metric("edgecap_audio_kept", "gauge", "Whether the sound of events is stored.", kept)
    return "\n".join(lines) + "\n" if lines else ""


def _metric(name: str, kind: str, meaning: str, values: Sequence[tuple[str, float | None]]) -> list[str]:
    """Help, type and samples of one metric; nothing where no source knows it."""
    known = [(_label(source), float(value)) for source, value in values if value is not None]
    head = [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
    return [*head, *(f'{name}{{source="{source}"}} {value:.10g}' for source, value in known)] if known else []


def _label(text: str) -> str:
    """A label's value, escaped as the format wants it."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
