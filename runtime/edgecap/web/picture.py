"""What the page shows of one source: its last half minute, and since when it is as it is."""

from __future__ import annotations

from base64 import b64encode

from edgecap.audio.frontend import FrontEnd
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.web.spectrum import Spectrum

HELD_SECONDS = 32.0
"""Spectrogram for a browser that comes: 70 kB a source, held whether a browser is connected or not."""
JUMP = 5
"""Columns by which the newest sound must be out of place to count as lost."""
UNKNOWN = 255
"""A level that no sound has."""


class SourcePicture:
    """The spectrogram of one source, and when it and its status are due. Not safe in several threads at once."""

    def __init__(self, front_end: FrontEnd) -> None:
        self.spectrum = Spectrum(front_end)
        self.sound_due = self.status_at = float("-inf")
        self.shown: tuple[object, ...] = ()
        self.since = 0.0
        """Unix time of the last change between sound, quiet, pause and fault."""
        self._state: tuple[object, ...] | None = None
        self._most = round(HELD_SECONDS / self.spectrum.column_seconds)
        self._columns, self._levels = bytearray(), bytearray()
        self._next = 0

    def look(self, status: StatusSnapshot, wall: float) -> None:
        """Take notice of a status at Unix time `wall`."""
        state = (status.gate_open, status.fault, status.live.paused)
        if state != self._state:
            self._state, self.since = state, wall

    def take(self, status: StatusSnapshot) -> dict[str, object] | None:
        """The columns that became complete, for browsers that follow, and hold them; None where there are none."""
        columns = self.spectrum.take()
        if not columns:
            return None
        bands, end = self.spectrum.bands, round(status.heard / self.spectrum.column_seconds)
        count = len(columns) // bands
        lost = end - count - self._next
        if abs(lost) > JUMP:
            missing = min(self._most, max(0, lost))
            self._hold(bytes(missing * bands), missing, UNKNOWN)
            self._next = end - count
        self._next += count
        self._hold(columns, count, min(UNKNOWN - 1, max(0, round(-status.level))))
        return {
            "source": status.source,
            "at": round(status.heard, 3),
            "level": round(status.level, 1),
            "columns": b64encode(columns).decode(),
        }

    def held(self, source: str) -> dict[str, object]:
        """The last half minute; levels are a byte a column, decibels below full scale, 255 where unknown."""
        return {
            "source": source,
            "at": round(self._next * self.spectrum.column_seconds, 3),
            "columns": b64encode(self._columns).decode(),
            "levels": b64encode(self._levels).decode(),
        }

    def _hold(self, columns: bytes, count: int, level: int) -> None:
        self._columns = (self._columns + columns)[-self._most * self.spectrum.bands :]
        self._levels = (self._levels + bytes([level]) * count)[-self._most :]
