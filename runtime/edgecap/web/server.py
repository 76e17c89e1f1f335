"""The web server: requests bounded in number and time, access control, and restrictive headers."""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs

from edgecap.types import Notify
from edgecap.util.http.http_server import HttpServer
from edgecap.util.limits import MOST_FIELDS, MOST_REQUESTS
from edgecap.web.access import AccessPolicy
from edgecap.web.assets import INDEX, load_assets

HERE = "./"
"""The page relative to itself, which holds behind a proxy that serves it below a path too."""
SIGN_IN = "/sign-in.html"
STRANGER_SECONDS = 10.0
"""Time for a request to show that it is allowed; a refusal must be taken within it too."""
STALLED_SECONDS = 15.0
"""A connection on which nothing moves for this long is closed."""
WRONG_TOKEN_SECONDS = 1.0
"""Delay before a wrong token is refused, against guessing."""
DISCARD_SECONDS = 5.0
"""Time to read the rest of a refused body."""
JSON_SECONDS = 10.0
"""Time to send a small body."""
BLOCK = 1 << 16
LENGTH = re.compile("[0-9]{1,12}")
"""A Content-Length."""
STREAM_BUFFER = 32_768
"""Bytes of a stream that the system buffers for a slow browser; the rest waits here, where old data is dropped."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors "
)
"""The last directive gets its sources from the `AccessPolicy`."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
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
        """Send the head of a stream; a browser that is gone is noticed within `STALLED_SECONDS`."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BUFFER)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * STALLED_SECONDS))
        # A proxy that compresses or collects would hold messages back (Caddy, nginx).
        self.begin(HTTPStatus.OK, content_type, Cache_Control="no-store, no-transform", X_Accel_Buffering="no")

    def reply(self, status: HTTPStatus, body: bytes, content_type: str, **headers: str) -> None:
        """Send a complete answer."""
        self.begin(status, content_type, Content_Length=str(len(body)), **headers)
        self.wfile.write(body)

    def reply_json(self, document: object, status: HTTPStatus = HTTPStatus.OK, **headers: str) -> None:
        """Send a JSON document."""
        body = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
        self.reply(status, body, "application/json", **headers)

    def refuse(self, status: HTTPStatus, reason: str, **headers: str) -> None:
        """Send an error with its reason in one line."""
        self.reply_json({"error": reason}, status, **headers)

    def try_later(self, error: Exception) -> None:
        """Send an error that may be over soon."""
        self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error), Retry_After="5")

    def receive(self, length: int, write: Callable[[bytes], object], seconds: float) -> bool:
        """Read a body of `length` bytes; whether all of it came in so many seconds."""
        deadline = time.monotonic() + seconds
        while length and time.monotonic() < deadline:
            try:
                block = self.rfile.read1(min(BLOCK, length))
            except TimeoutError:
                return False
            if not block:
                return False
            write(block)
            length -= len(block)
        return length == 0

    def receive_json(self, most: int) -> dict[str, object] | None:
        """A body of at most `most` bytes that is a JSON object; None where it was refused."""
        given, kind = self.headers.get("Content-Length", ""), self.headers.get("Content-Type", "")
        if not LENGTH.fullmatch(given) or "Transfer-Encoding" in self.headers or int(given) > most:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send at most {most} bytes, with a Content-Length")
            return None
        body = bytearray()
        if not self.receive(int(given), body.extend, JSON_SECONDS):
            self.refuse(HTTPStatus.REQUEST_TIMEOUT, "the request was not received in time; try again")
            return None
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict) or kind.partition(";")[0].strip().lower() != "application/json":
            self.refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send a JSON object, as application/json")
            return None
        return document

    def discard(self, length: int) -> None:
        """Read `length` bytes of a refused body, for a while: a browser reads the answer only after it has sent all."""
        self.wfile.flush()
        give_up = time.monotonic() + DISCARD_SECONDS
        with suppress(OSError):
            while length > 0 and time.monotonic() < give_up and (block := self.rfile.read1(min(BLOCK, length))):
                length -= len(block)

    def end_headers(self) -> None:
        """Add the headers of every answer, including the library's own to malformed requests."""
        ancestors = self.server.access.ancestors
        self.send_header("Content-Security-Policy", POLICY + (" ".join(ancestors) or "'none'"))
        if not ancestors:  # it can name no other origins, and browsers that know frame-ancestors ignore it
            self.send_header("X-Frame-Options", "DENY")
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        """The Server header, without versions."""
        return "edgecap"

    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""

    def _answer(self, method: str) -> None:
        path, _, query = self.path.partition("?")
        try:
            self.query = {name: values[-1] for name, values in parse_qs(query, max_num_fields=MOST_FIELDS).items()}
        except ValueError:
            self.refuse(HTTPStatus.BAD_REQUEST, f"a query has at most {MOST_FIELDS} fields")
            return
        server, access, host = self.server, self.server.access, self.headers.get("Host")
        route, trusted = server.routes.get((method, path)), access.trusts(self.client_address[0])
        if not trusted and not access.knows(host):
            self.refuse(
                HTTPStatus.MISDIRECTED_REQUEST,
                "the page is not served under this name; add it to web.hosts in the configuration",
            )
        elif method == "GET" and path != INDEX and path in server.assets:
            self._asset(path)
        elif not trusted and not access.admits(
            self.headers.get("Cookie"), self.headers.get("Authorization"), server.port
        ):
            self._sign_in(method, path)
        elif method == "GET" and path == INDEX:
            self._redirect() if "token" in self.query else self._asset(path)
        elif route is None:
            self.refuse(HTTPStatus.NOT_FOUND, "not found")
        elif self.headers.get("Sec-Fetch-Site") == "cross-site":  # could not read it, but would hold a place
            self.refuse(HTTPStatus.FORBIDDEN, "only the page itself may ask for this")
        elif method == "POST" and not access.is_own(self.headers.get("Origin"), self._host(trusted)):
            self.refuse(
                HTTPStatus.FORBIDDEN,
                "only the page itself may send this; behind a proxy, add its name to web.hosts in the configuration",
            )
        else:
            server.admit(self.connection)
            route(self)

    def _host(self, trusted: bool) -> str | None:
        """The host that the browser asked for: a trusted proxy says it where it passes on another one."""
        asked = self.headers.get("X-Forwarded-Host") if trusted else None
        return asked or self.headers.get("Host")

    def _asset(self, path: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        asset = self.server.assets[path]
        if path == SIGN_IN and "token" in self.query:
            asset = replace(asset, body=asset.body.replace(b'role="alert" hidden', b'role="alert"'), tag='""')
        if status is HTTPStatus.OK and self.headers.get("If-None-Match") == asset.tag:
            self.begin(HTTPStatus.NOT_MODIFIED, asset.content_type, Cache_Control="no-cache", ETag=asset.tag)
        else:
            self.reply(status, asset.body, asset.content_type, Cache_Control="no-cache", ETag=asset.tag)

    def _sign_in(self, method: str, path: str) -> None:
        """Move the token from the address into a cookie, or show the sign-in page."""
        given = self.query.get("token")
        if method == "GET" and path == INDEX and given is not None and self.server.access.fits(given):
            self._redirect(Set_Cookie=self.server.access.cookie(self.server.port))
            return
        if given is not None or self.headers.get("Authorization"):
            self._pause(WRONG_TOKEN_SECONDS)
        if method == "GET" and path == INDEX:
            self._asset(SIGN_IN, HTTPStatus.UNAUTHORIZED)
        else:
            self.refuse(HTTPStatus.UNAUTHORIZED, "a token is required")

    def _pause(self, seconds: float) -> None:
        """Wait, unless the connection ends: one that is cut off to make room gives its place back at once."""
        watch = select.poll()
        watch.register(self.connection, 0)  # an end is reported whatever is asked for
        watch.poll(1000 * seconds)

    def _redirect(self, **headers: str) -> None:
        """To the page without the token in its address, which would stay in histories and screenshots."""
        self.reply(HTTPStatus.SEE_OTHER, b"", "text/plain", Location=HERE, **headers)


Route = Callable[[Exchange], None]


class WebServer(HttpServer):
    """Serves the page's files and `routes`: method and path to what answers."""

    def __init__(
        self, host: str, port: int, access: AccessPolicy, routes: Mapping[tuple[str, str], Route], notify: Notify
    ) -> None:
        """Bind to the port; `start` serves. Raises OutputError where it is taken or not permitted."""
        self.access, self.routes, self.assets, self._notify = access, dict(routes), load_assets(), notify
        super().__init__(
            host,
            port,
            Exchange,
            name="the page",
            most_requests=MOST_REQUESTS,
            option="--web",
            request_seconds=STRANGER_SECONDS,
        )

    @property
    def url(self) -> str:
        """The page's address; with this machine's likeliest one where it is served at all of them."""
        host = own_address() if self.host in {"0.0.0.0", "::"} else self.host
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"

    @property
    def url_with_token(self) -> str:
        """The same with the token where one is needed."""
        return self.url + (f"?token={self.access.token}" if self.access.token else "")

    def unexpected(self, error: BaseException) -> None:
        """Report it; the server goes on."""
        self._notify("warning", f"a request to the page failed: {type(error).__name__}: {error}")


def own_address() -> str:
    """The address under which other machines most likely reach this one; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a documentation address (RFC 5737); UDP's connect only picks a route
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
