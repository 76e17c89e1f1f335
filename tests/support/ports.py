"""Ports of this machine for servers that tests start, and one that nobody serves."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

SERVED = range(20_000, 32_000)
"""Below the ports that Linux gives to outgoing connections (32768 and up): no connection takes one meanwhile."""


def free_port() -> int:
    """A port that nobody listens at."""
    for port in random.sample(SERVED, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no free port in {SERVED}")


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port that refuses connections: it stays bound and never listens, so that nobody else gets it meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
