"""What servers of models answer."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

from edgecap.pull.cache import CacheSlot
from edgecap.pull.client import Client, Limits
from edgecap.pull.download import Wanted, download
from edgecap.pull.places import Network
from fuzz.targets import Opened, void
from support.live_parts import ignore

HEADS = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 300\r\nETag: "abc"\r\nX-Linked-ETag: "00"\r\n\r\n',
    b'HTTP/1.1 206 Part\r\nContent-Range: bytes 100-399/400\r\nContent-Length: 300\r\nETag: "abc"\r\n\r\n',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12c\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /file?again=1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 416 Range\r\nContent-Range: bytes */400\r\nContent-Length: 0\r\n\r\n",
    b'HTTP/1.1 304 Same\r\nETag: "abc"\r\n\r\n',
)


@contextmanager
def answer(folder: Path) -> Iterator[Opened]:
    """Raw answers to a download, half of them to one that goes on where it stopped."""
    with patch.dict(os.environ, EDGECAP_CACHE=str(folder)):
        yield from _answer()


def _answer() -> Iterator[Opened]:
    client = Client(Network(), Limits(stall=5.0, total=10.0, tries=2, redirects=2), wait=void)
    current = [b""]
    with socket.create_server(("127.0.0.1", 0)) as gate:
        slot = CacheSlot(f"http://127.0.0.1:{gate.getsockname()[1]}/file")

        def serve() -> None:
            with suppress(OSError):  # the gate is closed
                while True:
                    connection, _ = gate.accept()
                    with connection, suppress(OSError):
                        connection.recv(65_536)
                        connection.sendall(current[0])

        threading.Thread(target=serve, daemon=True).start()

        def run(data: bytes) -> None:
            current[0] = data
            with slot.locked(ignore):
                if len(data) % 2:
                    slot.part.write_bytes(bytes(100))
                download(client, slot, slot.place, Wanted(most=10_000))

        yield [head + bytes(300) + b"\r\n0\r\n\r\n" for head in HEADS], run
        gate.shutdown(socket.SHUT_RDWR)
