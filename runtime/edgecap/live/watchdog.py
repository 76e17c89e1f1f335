"""Readiness, status and watchdog keep-alive for systemd (sd_notify).

The protocol is sd_notify(3): lines in a datagram to the socket that $NOTIFY_SOCKET names. The watchdog is fed from the
loop that reads the sound, and only while captions finish too, so that neither a hung device nor a hung model counts as
running. A microphone that is missing or gives zeros only shows in the status, since a restart would not help.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Literal

from edgecap.live.pipeline.status import StatusSnapshot

State = Literal["listening", "deaf", "stuck"]
STUCK_SECONDS = 60.0
"""A caption that takes longer has hung: the slowest board needs a few seconds."""
STATUS_SECONDS = 10.0


class Notifier:
    """Lines to the service manager; does nothing where there is none."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._path = environment.get("NOTIFY_SOCKET", "")
        usec = environment.get("WATCHDOG_USEC", "")
        this_process = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_seconds = int(usec) / 1e6 if usec.isdecimal() and this_process else None
        """Time after which the service manager ends a process that sent nothing; None without a watchdog."""

    def __bool__(self) -> bool:
        return bool(self._path)

    def send(self, *lines: str) -> None:
        """Send lines, as "READY=1". Listening goes on where the manager does not take them."""
        if not self._path:
            return
        name = f"\0{self._path[1:]}" if self._path.startswith("@") else self._path
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.sendto("\n".join(lines).encode(), name)


class Watchdog:
    """Feeds the service manager's watchdog from the listening loop while all is well."""

    def __init__(self, notifier: Notifier | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._notifier, self._clock = notifier or Notifier(), clock
        limit = self._notifier.watchdog_seconds
        self._interval = min(STATUS_SECONDS, limit / 3.0) if limit else STATUS_SECONDS
        self._next = float("-inf")
        self._begun = False

    def beat(self, statuses: Sequence[StatusSnapshot], busy_seconds: float) -> None:
        """Called with every step; `busy_seconds` is how long the current caption has taken so far."""
        now = self._clock()
        if not self._notifier or now < self._next:
            return
        self._next = now + self._interval
        ready, self._begun = () if self._begun else ("READY=1",), True
        now_is = state(statuses, busy_seconds)
        alive = () if now_is == "stuck" else ("WATCHDOG=1",)
        self._notifier.send(*ready, f"STATUS={status_line(statuses, now_is)}", *alive)

    def stop(self) -> None:
        """Report that the service is stopping; delivering what is left takes a few seconds."""
        self._notifier.send("STOPPING=1", "STATUS=delivering what is left")


def state(statuses: Sequence[StatusSnapshot], busy_seconds: float) -> State:
    """ "deaf" where no microphone gives sound, "stuck" where a caption does not finish."""
    if busy_seconds > STUCK_SECONDS:
        return "stuck"
    return "deaf" if all(status.fault for status in statuses) else "listening"


def status_line(statuses: Sequence[StatusSnapshot], now_is: State) -> str:
    """One line for `systemctl status`, with counts and no caption: every user of the machine can read it."""
    if now_is == "stuck":
        return f"a caption has taken more than {STUCK_SECONDS:.0f} s; not feeding the watchdog"
    parts = [
        f"{status.source}: {status.fault or f'{status.level:.0f} dBFS, {status.events} events'}"
        + (", paused" if status.paused else "")
        for status in statuses
    ]
    kept = "; audio is kept" if any(status.audio_kept for status in statuses) else ""
    return "; ".join(parts) + kept
