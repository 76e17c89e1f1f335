"""One HTTP request with a body, limited in time as a whole and not for each read."""

from __future__ import annotations

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPSConnection
from typing import IO, Any, Self

from edgecap.util.text import clean

MOST_REASON = 100
"""Characters of a server's own words that are passed on."""


def post(url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> tuple[int, str]:
    """POST `body`; the status code and the server's words for it, cleaned. The answer's body is not read.

    Redirects are not followed. Raises OSError, which TimeoutError is, or HTTPException.
    """
    request = urllib.request.Request(url, body, dict(headers), method="POST")
    with _Limit(seconds) as limit:
        try:
            with urllib.request.build_opener(_NoRedirect, _Limited(limit)).open(request, timeout=seconds) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code, clean(str(error.reason))[:MOST_REASON]
        except (OSError, HTTPException) as error:
            if limit.over or isinstance(getattr(error, "reason", error), TimeoutError):
                raise TimeoutError(f"no complete answer within {seconds:g} s") from None
            raise
        if limit.over:  # a head that was cut off may look like one that ended
            raise TimeoutError(f"no complete answer within {seconds:g} s")
        return status, ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would turn a POST into a GET, and send events to an address that nobody configured."""

    def redirect_request(  # noqa: PLR0917 - the library's signature
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Follow nothing."""


class _Limit:
    """Cuts off the connections of one request when its time is over."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._lock = threading.Lock()
        """Guards the two below."""
        self._copies: list[socket.socket] = []
        self.over = False
        """Whether the time is over."""

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()
        with self._lock:
            for copy in self._copies:
                copy.close()
            self._copies.clear()

    def connect(self, address: tuple[str, int], *_more: object) -> socket.socket:
        """As `socket.create_connection`, with the time that is left for all addresses of the host together."""
        failure: OSError | None = None
        for family, kind, protocol, _, place in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(max(0.01, self._end - time.monotonic()))
            try:
                connection.connect(place)
            except OSError as error:
                connection.close()
                failure = error
                continue
            with self._lock:  # a copy, since TLS takes the socket over
                self._copies.append(connection.dup())
            return connection
        raise failure or OSError("it has no address")

    def _cut(self) -> None:
        with self._lock:
            self.over = True
            for copy in self._copies:
                with suppress(OSError):
                    copy.shutdown(socket.SHUT_RDWR)


class _Limited(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Makes connections under a limit."""

    def __init__(self, limit: _Limit) -> None:
        super().__init__()
        self._limit = limit

    def http_open(self, request: urllib.request.Request) -> Any:  # noqa: ANN401 - as the library
        """Open http://."""
        return self.do_open(partial(self._connection, HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> Any:  # noqa: ANN401 - as the library
        """Open https://."""
        return self.do_open(partial(self._connection, HTTPSConnection), request)

    def _connection(self, kind: type[HTTPConnection], host: str, **more: Any) -> HTTPConnection:  # noqa: ANN401
        connection = kind(host, **more)
        connection._create_connection = self._limit.connect  # type: ignore[attr-defined] # its one place for this
        return connection
