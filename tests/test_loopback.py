"""Nothing but loopback is there for the tests and for what they start."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from loopback import GUARD

OUTSIDE = ("192.0.2.1", 9)
"""An address for documents (RFC 5737): nobody answers there, and no packet may go there either."""


def test_a_test_reaches_no_other_machine() -> None:
    with pytest.raises(OSError, match=r"unreachable|loopback only"):
        socket.create_connection(OUTSIDE, timeout=5)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        pytest.raises(OSError, match=r"unreachable|loopback only"),
    ):
        sender.sendto(b"x", OUTSIDE)
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("example.org", 80)


def test_a_program_that_a_test_starts_reaches_none_either() -> None:
    if not GUARD.isolates_children:
        pytest.skip("only root can give the tests a network namespace of their own")
    code = f"import socket; socket.create_connection({OUTSIDE}, timeout=5)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "Network is unreachable" in done.stderr


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_loopback_works(family: socket.AddressFamily, host: str) -> None:
    with (
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2], timeout=5),
    ):
        server.accept()[0].close()
