"""Visitors that flood a page: slow ones that never end their request, and many requests a second.

    python -m edgecap_bench.faults.flood_visitors PORT SECONDS SLOW RATE

A process of its own, so that it does not hold up who measures. Prints how many requests were begun and answered.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import suppress

THREADS = 16
TIMEOUT, DRIP_SECONDS = 5.0, 1.0
PATHS = ("/", "/about", "/past", "/nothing")


class Visitors:
    """Use `flood` once."""

    def __init__(self, port: int, seconds: float) -> None:
        self._address, self._end = ("127.0.0.1", port), time.monotonic() + seconds
        self._lock = threading.Lock()
        self.begun = self.answered = 0

    def flood(self, slow: int, rate: float) -> None:
        """So many slow visitors, and so many requests a second, for the time that was given."""
        work = [threading.Thread(target=self._drip, args=(slow,))]
        work += [threading.Thread(target=self._ask, args=(rate / THREADS,)) for _ in range(THREADS)]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()

    def _ask(self, rate: float) -> None:
        began, count = time.monotonic(), 0
        while (now := time.monotonic()) < self._end:
            time.sleep(max(0.0, began + count / rate - now))
            good, count = False, count + 1
            with suppress(OSError), socket.create_connection(self._address, timeout=TIMEOUT) as visitor:
                visitor.sendall(f"GET {PATHS[count % len(PATHS)]} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                while part := visitor.recv(65_536):
                    good = good or part.startswith(b"HTTP/")
            with self._lock:
                self.begun, self.answered = self.begun + 1, self.answered + good

    def _drip(self, slow: int) -> None:
        """A byte a second each; one that was cut off comes again."""
        visitors: list[socket.socket] = []
        while time.monotonic() < self._end:
            for visitor in tuple(visitors):
                try:
                    visitor.sendall(b"x")
                except OSError:
                    visitor.close()
                    visitors.remove(visitor)
            for _ in range(slow - len(visitors)):
                with suppress(OSError):
                    visitors.append(socket.create_connection(self._address, timeout=TIMEOUT))
                    visitors[-1].sendall(b"GET /ab")
            time.sleep(DRIP_SECONDS)
        for visitor in visitors:
            visitor.close()


if __name__ == "__main__":
    visitors = Visitors(int(sys.argv[1]), float(sys.argv[2]))
    visitors.flood(int(sys.argv[3]), float(sys.argv[4]))
    print(visitors.begun, visitors.answered)  # noqa: T201
