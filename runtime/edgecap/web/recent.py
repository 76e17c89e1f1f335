"""The last ten seconds of each microphone, in memory alone: what was just heard can be taught from the page.

They are overwritten as they age, and dropped where listening is paused or nothing is heard. What a visitor takes is
kept aside until it is learnt or dropped, for `TAKEN_SECONDS` at most. No request gets samples; the page shows a
spectrogram, as it does of all sound.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgecap.types import Waveform

HELD_SECONDS = 10.0
TAKEN_SECONDS = 300.0
MOST_TAKEN = 4
"""Of all visitors together; the oldest is dropped."""
LARGEST_GAP = 0.01
"""Seconds of sound that may lack; what comes after a longer gap does not continue what was held."""


@dataclass(frozen=True, eq=False)
class TakenSound:
    """What was held when a visitor asked for it."""

    id: str
    samples: Waveform
    """Mono at the model's rate, shape (n,)."""
    until: float
    """When it is dropped, by the clock."""


class RecentSound:
    """Fed by the thread that listens, asked by those of requests."""

    def __init__(self, rate: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`rate` is that of the samples."""
        self._rate, self._clock = rate, clock
        self._lock = threading.Lock()
        """Guards the two below."""
        self._held: dict[str, tuple[deque[Waveform], int, float]] = {}
        """Name of a microphone to blocks, their samples, and the seconds of sound at their end."""
        self._taken: dict[str, TakenSound] = {}

    def push(self, source: str, samples: Waveform, end: float) -> None:
        """New samples (n,), which end after `end` seconds of sound."""
        with self._lock:
            self._drop_old()
            blocks, size, last = self._held.get(source, (deque[Waveform](), 0, end))
            if abs(end - samples.size / self._rate - last) > LARGEST_GAP:
                blocks, size = deque(), 0
            blocks.append(samples)
            size += samples.size
            while size - blocks[0].size >= HELD_SECONDS * self._rate:
                size -= blocks.popleft().size
            self._held[source] = blocks, size, end

    def forget(self, source: str) -> None:
        """Nothing is held of this microphone any more."""
        with self._lock:
            self._drop_old()
            self._held.pop(source, None)

    def take(self, source: str) -> TakenSound | None:
        """Keep aside what is held of a microphone; None where that is nothing."""
        with self._lock:
            self._drop_old()
            if source not in self._held:
                return None
            samples = np.concatenate(self._held[source][0])[-round(HELD_SECONDS * self._rate) :]
            while len(self._taken) >= MOST_TAKEN:
                del self._taken[next(iter(self._taken))]
            taken = TakenSound(secrets.token_hex(8), samples, self._clock() + TAKEN_SECONDS)
            self._taken[taken.id] = taken
            return taken

    def taken(self, identifier: str) -> TakenSound | None:
        """What was taken under this identifier, if it is still there."""
        with self._lock:
            self._drop_old()
            return self._taken.get(identifier)

    def drop(self, identifier: str) -> None:
        """Drop what was taken."""
        with self._lock:
            self._taken.pop(identifier, None)

    def _drop_old(self) -> None:
        now = self._clock()
        self._taken = {key: taken for key, taken in self._taken.items() if taken.until > now}
