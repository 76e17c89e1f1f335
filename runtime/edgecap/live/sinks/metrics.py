"""Metrics for Prometheus at http://HOST:PORT/metrics, to this machine alone unless a host is named."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.sinks.base import Sink, SinkContext
from edgecap.types import Notify
from edgecap.util.http.http_server import HttpServer, names_this_machine, own_names
from edgecap.util.limits import MOST_SCRAPES
from edgecap.util.parsing import parse_address

REQUEST_SECONDS = 10.0
"""A visitor that takes longer for its request and its answer is cut off."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_COUNTERS = {
    "heard_seconds": ("heard", "Sound received."),
    "windows": ("windows", "Hops that passed."),
    "captions": ("captions", "Windows captioned."),
    "captions_reused": ("reused", "Captions for which the decoder was skipped because nothing had changed."),
    "quiet_windows": ("quiet", "Hops that were quiet, so that the model was not run."),
    "dropped_windows": ("dropped", "Hops without a caption because the one before took too long."),
    "lost_seconds": ("lost", "Sound that was never looked at."),
    "overflows": ("overflows", "Times that the system lost sound before edgecap saw it."),
    "events": ("events", "Events begun."),
    "suppressed_captions": ("suppressed", "Captions filtered, too unsure, or a repetition."),
}
_GAUGES = {
    "level_dbfs": ("level", "Level of the newest 100 ms, dB relative to full scale."),
    "noise_floor_dbfs": ("floor", "The gate's noise floor."),
    "gate_open": ("gate_open", "Whether the gate is open."),
    "hop_seconds": ("hop", "Seconds from one caption to the next now."),
    "caption_seconds": ("seconds", "Time that the last caption took."),
    "latency_seconds": ("latency", "From the end of the last window to its caption."),
    "temperature_celsius": ("celsius", "The hottest thermal zone."),
    "paused": ("paused", "Whether listening is paused."),
    "throttled": ("throttled", "Whether the board slows itself down."),
    "loudest_dbfs": ("loudest", "Level of the loudest 100 ms of the newest ten seconds."),
}


class Metrics(Sink):
    """A web server with one page."""

    def __init__(
        self, address: str, notify: Notify, *, hosts: Sequence[str] = (), request_seconds: float = REQUEST_SECONDS
    ) -> None:
        """Serve at "PORT" or "HOST:PORT"; `hosts` are further names under which it may be requested.

        Raises ConfigError, OutputError where the port is taken.
        """
        host, port = parse_address(address)
        self._lock = threading.Lock()
        """Guards the statuses, which requests read in threads of their own."""
        self._statuses: dict[int, StatusSnapshot] = {}
        self._server = _Server(host, port, self.page, notify, own_names(host, hosts), request_seconds)
        self.port = self._server.port
        """The port, also where 0 asked for a free one."""
        self._server.start()

    def on_status(self, status: StatusSnapshot) -> None:
        """Keep it for the next request."""
        with self._lock:
            self._statuses[status.number] = status

    def page(self) -> str:
        """All metrics."""
        with self._lock:
            statuses = [*self._statuses.values()]
        return render(statuses)

    def close(self) -> None:
        """Release the port."""
        self._server.close()


class _Server(HttpServer):
    def __init__(  # noqa: PLR0917 - private
        self,
        host: str,
        port: int,
        page: Callable[[], str],
        notify: Notify,
        names: frozenset[str],
        request_seconds: float,
    ) -> None:
        super().__init__(
            host,
            port,
            _Request,
            name="metrics",
            most_requests=MOST_SCRAPES,
            option="--metrics",
            request_seconds=request_seconds,
        )
        self.page, self._notify, self.names = page, notify, names

    def unexpected(self, error: BaseException) -> None:
        self._notify("warning", f"a request for metrics failed: {type(error).__name__}: {error}")


class _Request(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10.0

    def do_GET(self) -> None:
        if not names_this_machine(self.headers.get("Host"), self.server.names):
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, "not served under this name; add it to web.hosts\n")
        elif self.path.partition("?")[0] == "/metrics":
            self._answer(HTTPStatus.OK, self.server.page(), CONTENT_TYPE)
        else:
            self._answer(HTTPStatus.NOT_FOUND, "see /metrics\n")

    def _answer(self, status: HTTPStatus, text: str, content_type: str = "text/plain") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def open_metrics(context: SinkContext) -> Sink:
    """As configured by output.metrics. Raises ConfigError, OutputError."""
    config = context.config
    return Metrics(str(config.output.metrics), context.notify, hosts=config.web.hosts)


def render(statuses: Sequence[StatusSnapshot]) -> str:
    """The statuses in Prometheus's text format, one sample for each source; values that are not known are left out."""
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
    """Help, type and samples of one metric; nothing where no source has it."""
    known = [(_label(source), float(value)) for source, value in values if value is not None]
    head = [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
    return [*head, *(f'{name}{{source="{source}"}} {value:.10g}' for source, value in known)] if known else []


def _label(text: str) -> str:
    """A label's value, escaped for the format."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
