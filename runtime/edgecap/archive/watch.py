"""Which files of a folder that a recorder fills are whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from edgecap.archive.inputs.find import PlannedSource

Seen = tuple[int | None, datetime | None]


class Settling:
    """Takes a file when its size and its time of change have stayed the same for some seconds.

    Either for so long before now by the file's own time, or between two looks, where clocks differ.
    """

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._seconds, self._clock, self._now = seconds, clock, now
        self._waiting: dict[str, tuple[Seen, float]] = {}

    def __call__(self, source: PlannedSource) -> bool:
        """Whether a source, as listed just now, is whole."""
        seen, time = (source.size, source.modified), self._clock()
        if source.modified is not None and (self._now() - source.modified).total_seconds() >= self._seconds:
            self._waiting.pop(source.address, None)
            return True
        before, since = self._waiting.get(source.address, (None, time))
        if before != seen:
            self._waiting[source.address] = (seen, time)
            return self._seconds <= 0
        if time - since < self._seconds:
            return False
        del self._waiting[source.address]
        return True
