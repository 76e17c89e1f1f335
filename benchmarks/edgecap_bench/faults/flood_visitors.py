"""Visitors that flood a page: slow ones that never end their request, and many requests a second.

    python -m edgecap_bench.faults.flood_visitors PORT SECONDS SLOW RATE

A process of its own, so that it does not hold up who measures. Prints how many requests were begun and answered.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from contextlib import suppress

PATIENCE, DRIP_SECONDS = 0.2, 1.0
"""Seconds after which a visitor gives up, so that a slow answer does not make the flood a smaller one."""
PATHS = ("/", "/about", "/past", "/nothing")


class Visitors:
    """Use `flood` once."""

    def __init__(self, port: int, seconds: float) -> None:
        self._port, self._end = port, time.monotonic() + seconds
        self.begun = self.answered = 0

    async def flood(self, slow: int, rate: float) -> None:
        """So many slow visitors, and so many requests a second, for the time that was given."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(slow):
                tasks.create_task(self._drip())
            began = time.monotonic()
            while (now := time.monotonic()) < self._end:
                for _ in range(round(rate * (now - began)) - self.begun):
                    tasks.create_task(self._ask(PATHS[self.begun % len(PATHS)]))
                    self.begun += 1
                await asyncio.sleep(0.005)

    async def _ask(self, path: str) -> None:
        """By a bare socket, with less processor time than asyncio's streams: the listener needs it too."""
        loop = asyncio.get_running_loop()
        with suppress(OSError, TimeoutError), socket.socket() as visitor:
            visitor.setblocking(False)
            async with asyncio.timeout(PATIENCE):
                await loop.sock_connect(visitor, ("127.0.0.1", self._port))
                await loop.sock_sendall(visitor, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                self.answered += (await loop.sock_recv(visitor, 5)) == b"HTTP/"

    async def _drip(self) -> None:
        """A byte a second; who is cut off comes again."""
        while time.monotonic() < self._end:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    writer.write(b"GET /ab")
                    while time.monotonic() < self._end:
                        await asyncio.sleep(DRIP_SECONDS)
                        writer.write(b"x")
                        await writer.drain()
                finally:
                    writer.close()
            await asyncio.sleep(DRIP_SECONDS)


if __name__ == "__main__":
    visitors = Visitors(int(sys.argv[1]), float(sys.argv[2]))
    asyncio.run(visitors.flood(int(sys.argv[3]), float(sys.argv[4])))
    print(visitors.begun, visitors.answered)  # noqa: T201
