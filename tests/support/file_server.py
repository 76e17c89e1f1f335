"""A server of files on this machine that can do what servers on the net do: stall, break off, lie, redirect, refuse."""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[["Handler", bytes], None]
"""Answers one request in place of the usual answer; gets the file's bytes."""


class FileServer(ThreadingHTTPServer):
    """Files by path, with ranges and ETags; `plans` has behaviours for the next requests of a path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.plans: dict[str, list[Behaviour]] = defaultdict(list)
        self.headers: dict[str, dict[str, str]] = defaultdict(dict)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.released = threading.Event()
        """Set when stalled answers may end."""

    @property
    def url(self) -> str:
        """Base address without a slash."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what these tests are about."""

    def ranges(self, path: str) -> list[str | None]:
        """The ranges that were asked for, request by request."""
        return [headers.get("range") for asked, headers in self.requests if asked == path]


class Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.requests.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
        data = self.server.files.get(self.path)
        plans = self.server.plans[self.path]
        self.close_connection = True
        if plans:
            plans.pop(0)(self, data or b"")
        elif data is None:
            self.head(404, 0)
        else:
            self.usual(data)

    do_HEAD = do_GET  # noqa: N815

    def usual(self, data: bytes) -> None:
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        more = {"ETag": tag, **self.server.headers[self.path]}
        begin = self.headers.get("Range", "").removeprefix("bytes=").rstrip("-")
        if self.headers.get("If-None-Match") == tag:
            self.head(304, 0, more)
        elif begin and self.headers.get("If-Range", tag) == tag:
            if int(begin) >= len(data):
                self.head(416, 0, {"Content-Range": f"bytes */{len(data)}"})
                return
            rest = data[int(begin) :]
            self.head(206, len(rest), {**more, "Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"})
            self.body(rest)
        else:
            self.head(200, len(data), more)
            self.body(data)

    def head(self, status: int, length: int | None, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", f"{length}")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def body(self, data: bytes) -> None:
        if self.command == "GET":
            self.wfile.write(data)


def status(code: int, headers: dict[str, str] | None = None) -> Behaviour:
    return lambda handler, _: handler.head(code, 0, headers)


def breaks_off(after: int) -> Behaviour:
    """Promise all, send the first bytes, and close."""

    def behave(handler: Handler, data: bytes) -> None:
        tag = hashlib.sha256(data).hexdigest()[:16]
        handler.head(200, len(data), {"ETag": f'"{tag}"'})
        handler.body(data[:after])

    return behave


def stalls(after: int) -> Behaviour:
    """Promise all, send the first bytes, and then nothing until the test ends."""

    def behave(handler: Handler, data: bytes) -> None:
        breaks_off(after)(handler, data)
        handler.wfile.flush()
        handler.server.released.wait(60)

    return behave


def drips_head(handler: Handler, _: bytes) -> None:
    """A head that never ends, byte by byte, each within any limit for a read."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.server.released.wait(0.05):
        handler.wfile.write(b"a")
        handler.wfile.flush()


def drips_body(handler: Handler, data: bytes) -> None:
    handler.head(200, len(data))
    while not handler.server.released.wait(0.05):
        handler.wfile.write(b"a")
        handler.wfile.flush()


def sends(data: bytes, *, length: int | None = None, headers: dict[str, str] | None = None) -> Behaviour:
    """Other bytes than the file's, with a length that may be a lie."""

    def behave(handler: Handler, _: bytes) -> None:
        handler.head(200, len(data) if length is None else length, headers)
        handler.body(data)

    return behave


def redirects(target: str, headers: dict[str, str] | None = None) -> Behaviour:
    return status(302, {"Location": target, **(headers or {})})


@contextmanager
def file_server() -> Iterator[FileServer]:
    """A server that runs while the block does."""
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
