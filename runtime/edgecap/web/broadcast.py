"""One publisher, many subscribers of different speed: each browser has a bounded queue, and nothing waits for it.

Of messages for the moment (sound, status) a full queue drops the oldest. Events are never dropped: a browser too slow
even for those is disconnected, and on reconnecting names the last one that it got.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from edgecap.util.limits import MOST_KEPT, MOST_PASSING, MOST_WATCHERS

HEARTBEAT_SECONDS = 15.0
HEARTBEAT = b": still here\n\n"


class Watcher:
    """A browser's queue. Iterate over it in the browser's own thread: each item is what to send next."""

    def __init__(self, greeting: bytes) -> None:
        self.dropped = 0
        """Messages for the moment that this browser was too slow for."""
        self._kept: deque[bytes] = deque([greeting])
        self._passing: deque[bytes] = deque()
        self._change = threading.Condition()
        self._closed = False

    def put(self, message: bytes, *, keep: bool) -> None:
        """Queue a message; never waits."""
        with self._change:
            if self._closed:
                return
            if keep:
                self._kept.append(message)
                self._closed = len(self._kept) > MOST_KEPT
            else:
                if len(self._passing) >= MOST_PASSING:
                    self._passing.popleft()
                    self.dropped += 1
                self._passing.append(message)
            self._change.notify()

    def close(self) -> None:
        """Send what waits and end."""
        with self._change:
            self._closed = True
            self._change.notify()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._kept or self._passing or self._closed, HEARTBEAT_SECONDS)
                message = b"".join((*self._kept, *self._passing))
                self._kept.clear()
                self._passing.clear()
                closed = self._closed
            if message or not closed:
                yield message or HEARTBEAT
            if closed:
                return


class Broadcast:
    """All connected browsers."""

    def __init__(self, most: int = MOST_WATCHERS) -> None:
        self._most = most
        self._lock = threading.Condition()
        """Guards the two below, and what `publish` and `join` call."""
        self._watchers: set[Watcher] = set()
        self._ended = False

    @property
    def watched(self) -> bool:
        """Whether a browser is connected."""
        return bool(self.watchers)

    @property
    def watchers(self) -> frozenset[Watcher]:
        """The connected browsers."""
        with self._lock:
            return frozenset(self._watchers)

    def publish(self, make: Callable[[], bytes], *, keep: bool = False) -> None:
        """Send what `make` returns to all, if anything; it is called under the lock: no greeting is made meanwhile."""
        with self._lock:
            message = make()
            for watcher in self._watchers if message else ():
                watcher.put(message, keep=keep)

    def join(self, greeting: Callable[[], bytes]) -> Watcher | None:
        """Add a browser, or return None where there are too many; nothing is published between greeting and joining."""
        with self._lock:
            if self._ended or len(self._watchers) >= self._most:
                return None
            watcher = Watcher(greeting())
            self._watchers.add(watcher)
            return watcher

    def leave(self, watcher: Watcher) -> None:
        """Remove a browser."""
        with self._lock:
            self._watchers.discard(watcher)
            self._lock.notify_all()

    def close(self, farewell: bytes, timeout: float) -> None:
        """Send `farewell` to all, accept no more, and wait at most `timeout` seconds for it to be sent."""
        with self._lock:
            self._ended = True
            for watcher in self._watchers:
                watcher.put(farewell, keep=True)
                watcher.close()
            self._lock.wait_for(lambda: not self._watchers, timeout)


def message(kind: str, data: str, identifier: str = "") -> bytes:
    """One Server-Sent Event (https://html.spec.whatwg.org/multipage/server-sent-events.html); `data` is one line."""
    head = f"id: {identifier}\n" if identifier else ""
    return f"{head}event: {kind}\ndata: {data}\n\n".encode()
