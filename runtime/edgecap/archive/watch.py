"""Which files of a folder that a recorder fills are whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from edgecap.archive.inputs.find import PlannedSource

Seen = tuple[int | None, datetime | None]


class Settling:
    """Takes a file when its size and its time of change were the same in all looks of so many seconds.

    How old a file says it is does not count: the clock of a recorder or a file server may be behind this one, or this
    one may be set while a file grows.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._waiting: dict[str, tuple[Seen, float]] = {}

    def __call__(self, source: PlannedSource) -> bool:
        """Whether a source, as listed just now, is whole."""
        seen, time = (source.size, source.modified), self._clock()
        before, since = self._waiting.get(source.address, (None, time))
        if before != seen:
            self._waiting[source.address] = (seen, time)
            return False
        if time - since < self._seconds:
            return False
        del self._waiting[source.address]
        return True
