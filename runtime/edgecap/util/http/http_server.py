"""A small HTTP server of the standard library: starts at once, is silent, and holds a bounded number of requests.

A visitor has a limited time for its whole request, not for each read, until its handler says that it is welcome
(`HttpServer.admit`). Where all places are taken, a visitor that was not admitted yet loses its place: the oldest one of
the address that has the most of them. So neither slow ones nor many from one address keep others out. What an address
asks for beyond its `RequestBudget` is closed unanswered.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from edgecap.errors import OutputError
from edgecap.util.http.request_budget import RequestBudget

CUT_SECONDS = 0.5
"""Longest wait for the place of a visitor that was cut off."""
NO_FILES_SECONDS = 0.1
"""Pause where a connection cannot be accepted because no more files can be opened."""
FLOODED_SECONDS = 0.01
"""Pause after connections that were closed unanswered: those that come meanwhile are closed together."""
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:@/\\\[\]]+)(?::\d{1,5})?")
"""A name or address, and the port where there is one."""


def own_names(host: str, more: Iterable[str] = ()) -> frozenset[str]:
    """Host names, in lower case, under which a server at `host` may be requested.

    `more` are further ones, each with or without a port.
    """
    machine = socket.gethostname().lower()
    short = machine.partition(".")[0]
    further = {match[1].strip("[]") for name in more if (match := HOST.fullmatch(name.lower()))}
    return frozenset({"localhost", host.lower(), machine, short, f"{short}.local", *further})


def names_this_machine(header: str | None, names: Iterable[str]) -> bool:
    """Whether a Host header is one of `names` or an address: only names can be pointed elsewhere (DNS rebinding)."""
    match = HOST.fullmatch((header or "").lower())
    if match is None:
        return False
    name = match[1].strip("[]")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in names
    return True


class HttpServer(ThreadingHTTPServer):
    """Serves in a separate thread from `start` to `close`, each request in another."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        host: str,
        port: int,
        handler: type[BaseHTTPRequestHandler],
        *,
        name: str,
        most_requests: int,
        option: str,
        request_seconds: float | None = None,
    ) -> None:
        """Bind to the port; at most `most_requests` are served at once.

        `request_seconds` limits the whole of a request and its answer, unless its handler calls `admit`.
        `name` is what is served, as "metrics"; `option` is the command-line option that chooses the address. Raises
        OutputError where the port is taken or not permitted.
        """
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.host, self._name = host, name
        self._slots = threading.BoundedSemaphore(most_requests)
        self._seconds = request_seconds
        self._budget = RequestBudget()
        self._lock = threading.Lock()
        """Guards the deadlines."""
        self._deadlines: dict[socket.socket, tuple[float, str]] = {}
        """Connections with a time limit, the oldest first, each with its visitor's address."""
        self._thread: threading.Thread | None = None
        try:
            super().__init__((host, port), handler)
        except OSError as error:
            raise OutputError(
                f"{name} cannot be served at {host}:{port} ({error.strerror or error}); choose another port, as in "
                f"{option} 8700, or an address of this machine"
            ) from error

    @property
    def port(self) -> int:
        """The port, also where 0 asked for a free one."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Begin to serve."""
        self._thread = threading.Thread(
            target=self.serve_forever, name=f"edgecap {self._name.removeprefix('the ')}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Take no more requests and release the port."""
        if self._thread is not None:
            with suppress(OSError):  # no system but Linux: there the thread looks up twice a second
                self.socket.shutdown(socket.SHUT_RDWR)  # wakes it
            self.shutdown()
            self._thread.join(5.0)
        self.server_close()

    def unexpected(self, error: BaseException) -> None:
        """A request failed for another reason than a client that left."""

    def server_bind(self) -> None:
        """Bind without looking up the host's full name, which may take long where there is no name server."""
        TCPServer.server_bind(self)
        self.socket.setblocking(False)  # an accepted connection blocks nevertheless
        self.server_name, self.server_port = self.host, self.port

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection within its budget.

        Raises OSError where there is none, after a pause: without one a lack of files or a flood would keep this loop
        busy.
        """
        for _ in range(self.request_queue_size):
            try:
                connection, address = super().get_request()
            except BlockingIOError:
                break
            except OSError:
                time.sleep(NO_FILES_SECONDS)
                raise
            if self._budget.spend(str(address[0])):
                return connection, address
            connection.close()
        time.sleep(FLOODED_SECONDS)
        raise BlockingIOError("no connection within its budget waits")

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's signature
        """Give the request a thread where a slot is free, or becomes free by cutting off the slowest visitor."""
        if not self._slots.acquire(blocking=False) and not (
            self._cut_oldest() and self._slots.acquire(timeout=CUT_SECONDS)
        ):
            self.shutdown_request(request)
            return
        if self._seconds is not None:
            with self._lock:
                self._deadlines[request] = time.monotonic() + self._seconds, str(client_address[0])
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._release(request)
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """In the request's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._release(request)
            self._slots.release()

    def service_actions(self) -> None:
        """Cut off visitors whose time is over; called twice a second."""
        now = time.monotonic()
        with self._lock:
            late = [connection for connection, (deadline, _) in self._deadlines.items() if deadline <= now]
        for connection in late:
            self._cut(connection)

    def admit(self, connection: socket.socket) -> None:
        """A visitor is welcome: the time limit no longer applies, it keeps its place, and its address a budget."""
        if (address := self._release(connection)) is not None:
            self._budget.welcome(address)

    def _release(self, connection: socket.socket) -> str | None:
        """End a connection's time limit; its address, where it had one."""
        with self._lock:
            _, address = self._deadlines.pop(connection, (0.0, None))
        return address

    def _cut_oldest(self) -> bool:
        """Cut off the oldest visitor of the address with the most that were not admitted; whether there was one."""
        with self._lock:
            (address, _), *_ = Counter(address for _, address in self._deadlines.values()).most_common(1) or [("", 0)]
            oldest = next((one for one, (_, its) in self._deadlines.items() if its == address), None)
        if oldest is not None:
            self._cut(oldest)
        return oldest is not None

    def _cut(self, connection: socket.socket) -> None:
        """End a connection; its thread then reads an end of file, or fails to write."""
        self._release(connection)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Ignore a client that left; report anything else."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            self.unexpected(error)
