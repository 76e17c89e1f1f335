"""Whether a source gives sound: any source may stall, and any input may be dead."""

from __future__ import annotations

from collections.abc import Callable

from edgecap.live.sources.source import AudioSource
from edgecap.types import Notify

NO_SOUND, DEAD, TOO_FAST = "no sound comes", "digital silence", "sound comes faster than time"
"""Faults in the status."""


class Liveness:
    """Reports once that the sound of a source stopped or is one constant value, and once that it is back."""

    def __init__(
        self,
        source: AudioSource,
        notify: Notify,
        clock: Callable[[], float],
        *,
        lost_after: float,
        constant_after: float,
    ) -> None:
        """`lost_after` is seconds without samples, `constant_after` seconds of one value."""
        self._source, self._notify, self._clock = source, notify, clock
        self._lost_after, self._constant_after = lost_after, constant_after
        self._constant = self._source_reports = False
        self._too_fast = False
        self.stalled = False
        """Whether no samples come, or the source says that it is faulty."""
        self.last_sound = clock()
        """Time of the newest samples, by `clock`."""

    @property
    def fault(self) -> str:
        """Why no usable sound comes; empty where it does."""
        return self._source.fault or (
            NO_SOUND if self.stalled else TOO_FAST if self._too_fast else DEAD if self._constant else ""
        )

    def no_samples(self) -> bool:
        """A read gave nothing; whether the source counts as stalled from now on."""
        fault = bool(self._source.fault)
        self._source_reports = self._source_reports or fault
        late = not self._source.ended and self._clock() - self.last_sound >= self._lost_after
        if self.stalled or not (fault or late):
            return False
        self.stalled = True
        if not fault:
            self._notify("warning", f"{self._source.name} gives no more sound; waiting for it")
        return True

    def samples(self) -> bool:
        """A read gave sound; whether the source had stalled before."""
        self.last_sound = self._clock()
        if not self.stalled:
            return False
        if not self._source_reports:
            self._notify("note", f"{self._source.name} gives sound again")
        self.stalled = self._source_reports = False
        return True

    def stopped(self, seconds: float) -> None:
        """A read took `seconds` longer than it was allowed to: the process was stopped, not the source."""
        if seconds > 1.0:
            self.last_sound += seconds

    def too_fast(self) -> bool:
        """The source gives sound faster than time passes: reported once; whether it now waits for its reader."""
        if self._too_fast:
            return False
        if self._source.wait_for_reader():
            self._notify(
                "note",
                f"{self._source.name} gives sound faster than time, so it is taken as a recording, as with --speed 0: "
                "nothing is dropped, and events are dated by their place in it",
            )
            return True
        self._too_fast = True
        self._notify(
            "warning",
            f"{self._source.name} gives sound faster than time, so it is no microphone, and what comes too early is "
            "dropped; choose another: edgecap devices",
        )
        return False

    def constant(self, flat: float) -> None:
        """The newest `flat` seconds are one constant value. In a recording that is silence and no fault."""
        if flat >= self._constant_after and not self._constant and self._source.live:
            self._constant = True
            self._notify(
                "warning",
                f"{self._source.name} has given nothing but one constant value for {flat:.0f} s; check "
                "that it is not muted and that its cable is plugged in",
            )
        elif self._constant and flat == 0.0:
            self._constant = False
            self._notify("note", f"{self._source.name} gives sound again")
