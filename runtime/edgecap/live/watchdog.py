"""What systemd is told: that listening has begun, what goes on, and that it still does.

The protocol is sd_notify(3): lines in a datagram to the socket that $NOTIFY_SOCKET names. The watchdog is fed from the
loop that moves the sound, and only while captions come to an end too, so that neither a hung device nor a hung model
passes for a listener. A microphone that is missing or gives zeros is no reason for a restart, which would not help: it
is told as the status.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Literal

from edgecap.live.pipeline.status import Status

State = Literal["listening", "deaf", "stuck"]
STUCK_SECONDS = 60.0
"""A caption that takes longer will never come: the slowest board needs a few seconds."""
STATUS_SECONDS = 10.0


class Notifier:
    """Lines to the service manager; does nothing where there is none."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._path = environment.get("NOTIFY_SOCKET", "")
        usec = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_seconds = int(usec) / 1e6 if usec.isdecimal() and mine else None
        """Time after which the service manager ends a process that has said nothing; None where it does not watch."""

    def __bool__(self) -> bool:
        return bool(self._path)

    def send(self, *lines: str) -> None:
        """Send lines, as "READY=1". A manager that does not take them is no reason to stop listening."""
        if not self._path:
            return
        name = f"\0{self._path[1:]}" if self._path.startswith("@") else self._path
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.sendto("\n".join(lines).encode(), name)


class Watchdog:
    """Looks at a listener from within its loop, and feeds the service manager's watchdog while all is well."""

    def __init__(self, notifier: Notifier | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._notifier, self._clock = notifier or Notifier(), clock
        limit = self._notifier.watchdog_seconds
        self._interval = min(STATUS_SECONDS, limit / 3.0) if limit else STATUS_SECONDS
        self._next = float("-inf")
        self._begun = False

    def beat(self, statuses: Sequence[Status], busy_seconds: float) -> None:
        """Called with every step; `busy_seconds` is how long the caption in hand has taken so far."""
        now = self._clock()
        if not self._notifier or now < self._next:
            return
        self._next = now + self._interval
        first, self._begun = () if self._begun else ("READY=1",), True
        now_is = state(statuses, busy_seconds)
        fed = () if now_is == "stuck" else ("WATCHDOG=1",)
        self._notifier.send(*first, f"STATUS={words(statuses, now_is)}", *fed)

    def stop(self) -> None:
        """The end has begun; what is left to deliver takes a few seconds."""
        self._notifier.send("STOPPING=1", "STATUS=delivering what is left")


def state(statuses: Sequence[Status], busy_seconds: float) -> State:
    """How it goes: "deaf" where no microphone gives sound, "stuck" where a caption does not come to an end."""
    if busy_seconds > STUCK_SECONDS:
        return "stuck"
    return "deaf" if all(status.fault for status in statuses) else "listening"


def words(statuses: Sequence[Status], now_is: State) -> str:
    """One line for `systemctl status`. It tells counts, never a caption: everybody on the machine may ask for it."""
    if now_is == "stuck":
        return f"a caption has taken more than {STUCK_SECONDS:.0f} s; not feeding the watchdog"
    parts = [
        f"{status.source}: {status.fault or f'{status.level:.0f} dBFS, {status.events} events'}" for status in statuses
    ]
    kept = "; audio is kept" if any(status.audio_kept for status in statuses) else ""
    return "; ".join(parts) + kept
