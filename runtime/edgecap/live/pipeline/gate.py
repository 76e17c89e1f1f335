"""Whether there is a sound to caption: a gate over a running noise floor, with hysteresis.

The floor follows the quietest level: down within a second, up by half a decibel a second, so that a fan becomes part
of the floor and a barking dog does not. It never rises above `highest_floor_dbfs`, so that rain which lasts all day
stays a sound. The gate opens `open_db` above the floor, but never below the level that the
model calls silence, closes at `close_db` above it, and stays open for `hold` seconds after the last loud block.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgecap.audio.samples import LEVEL_BLOCK_SECONDS

FALL = 0.2
"""Share of the way down that the floor goes with each block."""
RISE_DB = 0.5 * LEVEL_BLOCK_SECONDS
"""Most that the floor rises with each block."""


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """When the gate opens and closes."""

    lowest_dbfs: float = -65.0
    """Nothing below this level opens the gate; the model's silence threshold."""
    highest_floor_dbfs: float = -56.0
    """The floor never rises above this, so a sound louder by `open_db` always opens the gate."""
    open_db: float = 8.0
    """Decibels above the floor at which it opens."""
    close_db: float = 5.0
    """Decibels above the floor below which it may close."""
    hold: float = 1.0
    """Seconds that it stays open after the last loud block."""
    fixed_dbfs: float | None = None
    """Open at this level and 3 dB below close, whatever the floor; None follows the floor."""


class Gate:
    """The state of a gate, block by block of 100 ms."""

    def __init__(self, settings: GateSettings, floor: float | None = None) -> None:
        """`floor` is that of the gate before, in dBFS, where there was one."""
        self.open = False
        self.floor = settings.lowest_dbfs if floor is None else floor
        """The noise floor, dBFS."""
        self._settings = settings
        self._quiet = 0.0

    @property
    def threshold(self) -> float:
        """The level that opens the gate, dBFS."""
        settings = self._settings
        if settings.fixed_dbfs is not None:
            return settings.fixed_dbfs
        return max(settings.lowest_dbfs, self.floor + settings.open_db)

    def close(self) -> None:
        """No sound comes any more; the floor stays."""
        self.open, self._quiet = False, 0.0

    def push(self, level: float) -> bool:
        """Take the level of one block; whether the block was loud (the gate may be open without it)."""
        settings, threshold = self._settings, self.threshold
        lower = threshold - (3.0 if settings.fixed_dbfs is not None else settings.open_db - settings.close_db)
        loud = level >= (lower if self.open else threshold)
        if loud:
            self.open, self._quiet = True, 0.0
        else:
            self._quiet += LEVEL_BLOCK_SECONDS
            self.open = self.open and self._quiet < settings.hold
        if level < self.floor:
            self.floor += (level - self.floor) * FALL
        else:
            self.floor = min(settings.highest_floor_dbfs, self.floor + min(RISE_DB, level - self.floor))
        return loud
