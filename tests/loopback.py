"""Tests reach nothing but this machine, and neither do the programs that they start.

As root on Linux (as in CI) the run moves into a network namespace of its own, in which only loopback exists; children
inherit it, whatever they are written in. Elsewhere Python's audit events refuse connections of this process. A test
that needs the internet says so with the fixture `internet`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40
NAMESPACE = Path("/proc/thread-self/ns/net")


class LoopbackOnly:
    """The guard of this process; there is one, `GUARD`."""

    def __init__(self) -> None:
        self._outside: int | None = None  # the namespace from before, where this process has one of its own
        self._lifted = False

    @property
    def isolates_children(self) -> bool:
        """Whether programs that tests start are kept to loopback too."""
        return self._outside is not None

    def start(self) -> None:
        """Take the net away from this process and what it starts from now on. Call it before there are threads."""
        if sys.platform == "linux" and os.geteuid() == 0 and NAMESPACE.exists():
            outside = os.open(NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
            if ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0:
                self._outside = outside
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                    fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP | IFF_RUNNING))
            else:
                os.close(outside)
        # not both: in Python 3.11 a hook in Python lets threads fail that begin to be traced at the same time
        if self._outside is None:
            sys.addaudithook(self._refuse)

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Give the net back to this thread and to what it starts meanwhile."""
        inside = os.open(NAMESPACE, os.O_RDONLY | os.O_CLOEXEC) if self._outside is not None else None
        self._lifted = True
        if self._outside is not None:
            _enter(self._outside)
        try:
            yield
        finally:
            self._lifted = False
            if inside is not None:
                _enter(inside)
                os.close(inside)

    def _refuse(self, event: str, arguments: tuple[object, ...]) -> None:
        """An audit hook: what leaves the machine fails as on one without a network."""
        if self._lifted or not event.startswith("socket."):
            return
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            connection, address = arguments[0], arguments[1]
            inet = isinstance(connection, socket.socket) and connection.family in (socket.AF_INET, socket.AF_INET6)
            if inet and isinstance(address, tuple) and not _is_here(address[0]):
                raise OSError(errno.ENETUNREACH, "tests reach loopback only (tests/loopback.py)")
        elif event == "socket.getaddrinfo" and not _is_here(arguments[0], numbers=True):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


GUARD = LoopbackOnly()


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "a network namespace cannot be entered")


def _is_here(host: object, *, numbers: bool = False) -> bool:
    """Whether a host is this machine; with `numbers` any that needs no name server."""
    if isinstance(host, bytes):
        host = host.decode("ascii", errors="replace")
    if not isinstance(host, str) or host in ("", "localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return numbers or address.is_loopback or address.is_unspecified
