"""Servers that a listener talks to, which answer, close, hang or flood."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HANG_SECONDS = 60.0
FLOOD_BYTES = 1_000


class Webhook(ThreadingHTTPServer):
    """A server that answers, or closes, hangs or floods."""

    daemon_threads = True
    mode = "answer"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A visitor that left is no news."""


class _Answer(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        until, mode = time.monotonic() + HANG_SECONDS, self.server.mode
        self.rfile.read(int(self.headers["Content-Length"]))
        while mode == "hang" == self.server.mode and time.monotonic() < until:
            time.sleep(0.05)
        while mode == "flood" == self.server.mode and time.monotonic() < until:
            self.wfile.write(b"x" * 65_536)
        if mode == "answer":
            self.send_response(204)
            self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are counted by nobody."""


def flood_topic(port: int, topic: str) -> Callable[[], None]:
    """Let a broker pass on messages of `topic` as fast as it can; what ends that. Raises OSError."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=HANG_SECONDS)
    connection.sendall(_packet(0x10, struct.pack(">H", 4) + b"MQTT\x04\x02\x00\x00" + struct.pack(">H", 5) + b"flood"))
    connection.recv(4)
    message = _packet(0x30, struct.pack(">H", len(topic)) + topic.encode() + b"x" * FLOOD_BYTES)
    ended = threading.Event()

    def send() -> None:
        with suppress(OSError), connection:
            while not ended.is_set():
                connection.sendall(message * 50)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()

    def end() -> None:
        ended.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)  # it may wait for the broker
        thread.join(HANG_SECONDS)

    return end


def _packet(kind: int, body: bytes) -> bytes:
    """An MQTT packet: its kind, its length in seven bits a byte, its body."""
    length, left = b"", len(body)
    while True:
        left, digit = left >> 7, left & 0x7F
        length += bytes([digit | (0x80 if left else 0)])
        if not left:
            return bytes([kind]) + length + body


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
