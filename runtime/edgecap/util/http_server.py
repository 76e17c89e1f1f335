"""A small HTTP server of the standard library: starts at once, is silent, and holds a bounded number of requests."""

from __future__ import annotations

import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from edgecap.errors import OutputError


class HttpServer(ThreadingHTTPServer):
    """Serves in a separate thread from `start` to `close`, each request in another."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self, host: str, port: int, handler: type[BaseHTTPRequestHandler], *, name: str, most_requests: int, option: str
    ) -> None:
        """Bind to the port; requests beyond `most_requests` at once are turned away.

        `name` is what is served, as "metrics"; `option` is the command-line option that chooses the address. Raises
        OutputError where the port is taken or not permitted.
        """
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.host, self._name = host, name
        self._slots = threading.BoundedSemaphore(most_requests)
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
            self.shutdown()
            self._thread.join(5.0)
        self.server_close()

    def unexpected(self, error: BaseException) -> None:
        """A request failed for another reason than a client that left."""

    def server_bind(self) -> None:
        """Bind without looking up the host's full name, which may take long where there is no name server."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, self.port

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's signature
        """Give the request a thread where a slot is free."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """In the request's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Ignore a client that left; report anything else."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            self.unexpected(error)
