"""The web server: threads that are bounded in number and time, and headers that keep the page to itself."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs

from edgecap.errors import OutputError
from edgecap.live.sources.source import Tell
from edgecap.web.access import AccessPolicy
from edgecap.web.assets import INDEX, SIGN_IN, load_assets

MOST_VISITS = 64
"""Requests and streams at once, all browsers together; further ones are turned away."""
STALLED_SECONDS = 15.0
"""A visitor who neither sends nor takes anything for so long is given up."""
WRONG_TOKEN_SECONDS = 1.0
"""Wait before a wrong token is refused, against guessing."""
DISCARD_SECONDS = 5.0
"""Time for the rest of a body that was refused."""
MOST_FIELDS = 20
STREAM_BUFFER = 32_768
"""Bytes of a stream that the system holds for a slow browser; the rest waits here, where what is old is dropped."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer. A connection carries one, so nothing is left over to be misread as the next."""

    server: WebServer
    timeout = STALLED_SECONDS
    disable_nagle_algorithm = True
    query: dict[str, str]
    """The query's values, the last of each name."""

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer("GET")

    def do_POST(self) -> None:
        """Answer a POST."""
        self._answer("POST")

    def begin(self, status: HTTPStatus, content_type: str, **headers: str) -> None:
        """Send the head; underscores in the names of `headers` are hyphens."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        headers.setdefault("Cache_Control", "no-store")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def stream(self, content_type: str) -> None:
        """Send the head of an answer that goes on; a browser that is gone is found out within `STALLED_SECONDS`."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BUFFER)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * STALLED_SECONDS))
        self.begin(HTTPStatus.OK, content_type, X_Accel_Buffering="no")

    def reply(self, status: HTTPStatus, body: bytes, content_type: str, **headers: str) -> None:
        """Send a whole answer."""
        self.begin(status, content_type, Content_Length=str(len(body)), **headers)
        self.wfile.write(body)

    def reply_json(self, document: object, status: HTTPStatus = HTTPStatus.OK, **headers: str) -> None:
        """Send a JSON document."""
        body = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
        self.reply(status, body, "application/json", **headers)

    def refuse(self, status: HTTPStatus, reason: str, **headers: str) -> None:
        """Say in one line why not."""
        self.reply_json({"error": reason}, status, **headers)

    def discard(self, length: int) -> None:
        """Read `length` bytes of a body that was refused, for a while: a browser hears nothing before it has sent."""
        self.wfile.flush()
        give_up = time.monotonic() + DISCARD_SECONDS
        with suppress(OSError):
            while length > 0 and time.monotonic() < give_up and (block := self.rfile.read1(min(1 << 16, length))):
                length -= len(block)

    def end_headers(self) -> None:
        """Add what every answer carries, those of the library to malformed requests too."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        """The Server header: no versions for strangers."""
        return "edgecap"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each visit."""

    def _answer(self, method: str) -> None:
        path, _, query = self.path.partition("?")
        try:
            self.query = {name: values[-1] for name, values in parse_qs(query, max_num_fields=MOST_FIELDS).items()}
        except ValueError:
            self.refuse(HTTPStatus.BAD_REQUEST, f"a query has at most {MOST_FIELDS} fields")
            return
        server, door, host = self.server, self.server.door, self.headers.get("Host")
        route = server.routes.get((method, path))
        if not door.knows(host):
            self.refuse(
                HTTPStatus.MISDIRECTED_REQUEST,
                "the page is not served under this name; add it to hosts in the section [web] of the configuration",
            )
        elif method == "GET" and path != INDEX and path in server.assets:
            self._asset(path)
        elif not door.admits(self.headers.get("Cookie"), self.headers.get("Authorization"), server.port):
            self._sign_in(method, path)
        elif method == "GET" and path == INDEX:
            self._redirect() if "token" in self.query else self._asset(path)
        elif route is None:
            self.refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        elif method == "POST" and not door.is_own(self.headers.get("Origin"), host):
            self.refuse(HTTPStatus.FORBIDDEN, "this is taken from the page itself only")
        else:
            route(self)

    def _asset(self, path: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        asset = self.server.assets[path]
        if path == SIGN_IN and "token" in self.query:
            asset = replace(asset, body=asset.body.replace(b'role="alert" hidden', b'role="alert"'), tag='""')
        if status is HTTPStatus.OK and self.headers.get("If-None-Match") == asset.tag:
            self.begin(HTTPStatus.NOT_MODIFIED, asset.content_type, Cache_Control="no-cache", ETag=asset.tag)
        else:
            self.reply(status, asset.body, asset.content_type, Cache_Control="no-cache", ETag=asset.tag)

    def _sign_in(self, method: str, path: str) -> None:
        """Take the token from the address and put it into a cookie, or ask for it."""
        given = self.query.get("token")
        if method == "GET" and path == INDEX and given is not None and self.server.door.fits(given):
            self._redirect(Set_Cookie=self.server.door.cookie(self.server.port))
            return
        if given is not None or self.headers.get("Authorization"):
            time.sleep(WRONG_TOKEN_SECONDS)
        if method == "GET" and path == INDEX:
            self._asset(SIGN_IN, HTTPStatus.UNAUTHORIZED)
        else:
            self.refuse(HTTPStatus.UNAUTHORIZED, "the page needs its token")

    def _redirect(self, **headers: str) -> None:
        """To the page without the token in its address, so that it is in no history and no screenshot."""
        self.reply(HTTPStatus.SEE_OTHER, b"", "text/plain", Location=INDEX, **headers)


Route = Callable[[Exchange], None]


class WebServer(ThreadingHTTPServer):
    """Serves the page's files and `routes`, method and path → what answers."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self, host: str, port: int, door: AccessPolicy, routes: Mapping[tuple[str, str], Route], tell: Tell
    ) -> None:
        """Take the port; `start` serves. Raises OutputError where it is taken or not ours."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.host, self.door, self.routes, self.assets = host, door, routes, load_assets()
        self._tell = tell
        self._places = threading.BoundedSemaphore(MOST_VISITS)
        self._thread: threading.Thread | None = None
        try:
            super().__init__((host, port), Exchange)
        except OSError as error:
            raise OutputError(
                f"the page cannot be served at {host}:{port} ({error.strerror or error}); choose "
                "another port, as in --web 8700, or an address of this machine"
            ) from error

    @property
    def port(self) -> int:
        """The port, also where 0 asked for any."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """Where the page is; under this machine's likeliest address where it is served at all of them."""
        host = own_address() if self.host in {"0.0.0.0", "::"} else self.host
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"

    @property
    def whole_url(self) -> str:
        """The same with the token where one is needed."""
        return self.url + (f"?token={self.door.token}" if self.door.token else "")

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread = threading.Thread(target=self.serve_forever, name="edgecap web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more visits and let go of the port."""
        if self._thread is not None:
            self.shutdown()
            self._thread.join(5.0)
        self.server_close()

    def server_bind(self) -> None:
        """Bind without asking a name server who we are, which may take long where there is none."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, self.port

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's signature
        """Give the visit a thread where one is free."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """In the visit's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's signature
        """A visitor who left is no news; anything else is a fault of ours, told and survived."""
        import sys

        error = sys.exception()
        if not isinstance(error, OSError):
            self._tell("warning", f"the page met an unexpected {type(error).__name__}: {error}")


def own_address() -> str:
    """The address under which other machines most likely reach this one; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a documentation address (RFC 5737); UDP's connect only picks a route
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
