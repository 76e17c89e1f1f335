"""One request by HTTPS, bounded in every respect: addresses, redirects, time for each answer and in all.

Proxies come from the environment (`https_proxy`, `no_proxy`), as urllib reads them.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from edgecap._version import __version__
from edgecap.errors import DownloadError
from edgecap.pull.places import Network, shown
from edgecap.util.parsing import host_of
from edgecap.util.text import clean

REDIRECTS = {301, 302, 303, 307, 308}
HUB_HEADERS = ("X-Repo-Commit", "X-Linked-Size", "X-Linked-ETag")
"""What the hub says of a file in its first answer, which redirects to where the bytes are."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of a download, in seconds but for the counts."""

    stall: float = 30.0
    """For a connection, for the headers of an answer, and without `least` bytes."""
    least: int = 1_024
    """Bytes that count as progress within `stall`."""
    total: float = 3_600.0
    """For one file, with all tries."""
    tries: int = 6
    longest_wait: float = 120.0
    """A server that asks for a longer wait is not waited for."""
    first_wait: float = 1.0
    """Before the second try; doubled for each further one."""
    redirects: int = 5


class BrokenOffError(DownloadError):
    """The connection failed in a way that may be better at the next try."""


@dataclass
class Answer:
    """The head of an answer, and its body to be read."""

    status: int
    url: str
    headers: Mapping[str, str]
    """Names in lower case; those of the hub from whichever answer had them."""
    response: HTTPResponse | IO[bytes]
    _watch: _Watch

    def read(self, size: int) -> bytes:
        """At most `size` bytes, as they come; empty at the end. Raises BrokenOffError."""
        with _translated(self.url, self._watch):
            data: bytes = self.response.read1(size)  # type: ignore[union-attr]
        if self._watch.fired:  # the socket was shut, which looks like the end
            raise BrokenOffError(self._watch.message(self.url))
        return data


class Client:
    """Makes requests within the limits."""

    def __init__(self, network: Network, limits: Limits, wait: Callable[[float], None] = time.sleep) -> None:
        self.network = network
        self.limits = limits
        self.wait = wait

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str], seconds: float) -> Iterator[Answer]:
        """Request `url`, following redirects; the answer, whatever its status, lasts at most `seconds`.

        Raises BrokenOffError where the server cannot be reached or stops, DownloadError for what will not get better.
        """
        seen: dict[str, str] = {}
        with _Watch() as watch:
            for _ in range(self.limits.redirects + 1):
                watch.arm(min(self.limits.stall, seconds))
                with self._request(url, headers, watch) as answer:
                    seen = {**{key: value for key, value in answer.headers.items() if _of_hub(key)}, **seen}
                    target = answer.headers.get("location")
                    if answer.status not in REDIRECTS or target is None:
                        watch.arm(seconds)
                        answer.headers = {**answer.headers, **seen}
                        yield answer
                        return
                target = urljoin(url, target)
                self.network.check_redirect(url, target)
                url = target
        raise DownloadError(f"{host_of(url)} redirects more than {self.limits.redirects} times; nothing was got")

    @contextmanager
    def _request(self, url: str, headers: Mapping[str, str], watch: _Watch) -> Iterator[Answer]:
        fixed = {"User-Agent": f"edgecap/{__version__}", "Accept-Encoding": "identity"}
        request = urllib.request.Request(url, headers={**fixed, **headers})
        opener = urllib.request.build_opener(_NoRedirect, _Http(watch), _Https(watch))
        try:
            with _translated(url, watch):
                response: Any = opener.open(request, timeout=self.limits.stall)
        except urllib.error.HTTPError as error:  # an answer too
            response = error
        with response:
            if watch.fired:  # the socket was shut, which looks like the end of the headers
                raise BrokenOffError(watch.message(url))
            names = {key.lower(): value for key, value in response.headers.items()}
            yield Answer(response.status, url, names, response, watch)


def _of_hub(key: str) -> bool:
    return key in {name.lower() for name in HUB_HEADERS}


@contextmanager
def _translated(url: str, watch: _Watch) -> Iterator[None]:
    """Network failures as BrokenOffError, with the host and the reason."""
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        if watch.fired or isinstance(error, TimeoutError):
            raise BrokenOffError(watch.message(url)) from error
        cause = getattr(error, "reason", None) or error
        if isinstance(cause, TimeoutError):
            raise BrokenOffError(watch.message(url)) from error
        reason = clean(str(getattr(cause, "strerror", None) or cause)) or type(error).__name__
        raise BrokenOffError(f"{shown(url)} cannot be got{_by_proxy(url)} ({reason[:160]})") from error


def _by_proxy(url: str) -> str:
    """ " through the proxy HOST" where the environment names one for an address; its user and password are left out."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme, "")
    if not proxy or urllib.request.proxy_bypass(parts.netloc):
        return ""
    return f" through the proxy {clean(proxy.rpartition('@')[2].rpartition('//')[2])[:80]}"


class _Watch:
    """Shuts the connection when its time is over: a server that drips bytes keeps within every read's own limit."""

    def __init__(self) -> None:
        self.fired = False
        self.connection: http.client.HTTPConnection | None = None
        self.socket: socket.socket | None = None
        self._seconds = 0.0
        self._timer: threading.Timer | None = None

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._cancel()

    def arm(self, seconds: float) -> None:
        """Begin to count again."""
        self._cancel()
        self._seconds = seconds
        self._timer = threading.Timer(max(seconds, 0.0), self._fire)
        self._timer.daemon = True
        self._timer.start()

    def message(self, url: str) -> str:
        """What to say when it was too slow."""
        return f"{shown(url)} took too long to answer (more than {self._seconds:g} s)"

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _fire(self) -> None:
        self.fired = True
        target = self.socket or (self.connection.sock if self.connection else None)
        if target is not None:
            with suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)


def _watched(base: type[http.client.HTTPConnection], watch: _Watch) -> Callable[..., http.client.HTTPConnection]:
    """A class of connections that are shown to `watch`, from the first step of connecting on."""

    class Connection(base):  # type: ignore[valid-type,misc]
        def connect(self) -> None:
            watch.connection, watch.socket = self, None
            super().connect()
            watch.socket = self.sock

    return Connection


class _Http(urllib.request.HTTPHandler):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_watched(http.client.HTTPConnection, self._watch), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_watched(http.client.HTTPSConnection, self._watch), req)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are followed above, where each is checked."""

    def redirect_request(self, *_: object) -> None:
        """Follow nothing."""
