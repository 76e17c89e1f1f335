"""A microphone that may come and go.

It is opened as the user named it, and remembered by its full name: numbers change when something else is plugged in.
When it gives no more samples it is closed and searched for until it is back, less and less often
(`edgecap.live.sources.microphones`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from edgecap.audio.captured import CapturedMicrophone
from edgecap.audio.sound_cards import plain_name
from edgecap.errors import DeviceError, StuckDeviceError
from edgecap.live.clocks import LARGEST_LEAD
from edgecap.live.sources.microphones import Microphones
from edgecap.live.sources.source import NOTHING, Chunk, Intake
from edgecap.types import Notify
from edgecap.util.text import clean

TOO_FAST = "sound comes faster than time"
"""Fault in the status."""


class MicrophoneSource:
    """The sound of one microphone, through losses and returns."""

    lossless = False
    live = True
    speed = 1.0
    ended = False

    def __init__(
        self,
        query: str | None,
        target_rate: int,
        opener: Microphones,
        notify: Notify,
        *,
        wait: bool = False,
        label: str | None = None,
        lost_after: float = 3.0,
        retry: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open it. Raises DeviceError or StuckDeviceError where that fails, unless `wait`: then it is searched for.

        `label` is its name in events; the device's own where None is given. After `lost_after` seconds without samples
        it is treated as disconnected, and searched for every `retry` seconds.
        """
        self._lost_after, self._retry = lost_after, retry
        self.fault = ""
        self.label = label
        self._target_rate, self._opener, self._notify = target_rate, opener, notify
        self._clock, self._sleep = clock, sleep
        self._query, self._known = query, False
        self._microphone: CapturedMicrophone | None = None
        self._overflows = 0
        self._retry_at = self._last = self._read_at = clock()
        self._fresh = False
        try:
            self._start(opener.open(query))
        except (DeviceError, StuckDeviceError) as error:
            if not wait:
                raise
            notify("warning", f"{error}; waiting for it")
            self.fault = "the microphone is not there yet"
            self._retry_at = clock() + self._retry

    @property
    def name(self) -> str:
        """Its label, or its name without the numbers that change."""
        return clean(self.label or plain_name(self._query or "the default microphone"))

    @property
    def overflows(self) -> int:
        """Times that the system lost sound before edgecap got it."""
        return self._overflows + (self._microphone.overflows if self._microphone else 0)

    def read(self, timeout: float) -> Chunk:
        """New sound; where the microphone is missing, search for it."""
        if self._microphone is None and not self._find():
            self._sleep(timeout)
            return Chunk(NOTHING)
        microphone = self._microphone
        assert microphone is not None
        asked = self._clock()
        self._sleep(timeout)
        if (stopped := self._clock() - asked - timeout) > 1.0:
            self._last += stopped  # the process was stopped, not the microphone
        block, lost = microphone.ring.read()
        if not len(block):
            if not microphone.active or self._clock() - self._last > self._lost_after:
                self._lose()
            return Chunk(NOTHING)
        came, now = (len(block) + lost) / microphone.sample_rate, self._clock()
        too_fast = came > now - self._read_at + LARGEST_LEAD
        self._last = self._read_at = now
        if too_fast:
            self._refuse()
            return Chunk(NOTHING)
        if self.fault:
            self.fault = ""
            self._opener.heard(self._query)
            self._notify("note", f"the microphone {self.name!r} is there; listening at {microphone.sample_rate:g} Hz")
        fresh, self._fresh = self._fresh, False
        return Chunk(self._intake.push(block), lost / microphone.sample_rate, fresh)

    def wait_for_reader(self) -> bool:
        """It cannot."""
        return False

    def close(self) -> None:
        """Close the microphone."""
        if self._microphone is not None:
            self._overflows = self.overflows
            self._microphone.close()
            self._microphone = None

    def _start(self, microphone: CapturedMicrophone) -> None:
        """Take an open microphone and remember its name."""
        self._microphone = microphone
        self._query, self._known = microphone.device.name, True
        self._intake = Intake(microphone.sample_rate, self._target_rate)
        self._last, self._fresh = self._clock(), True
        self._read_at = self._last

    def _find(self) -> bool:
        """Search for it where it is time to; whether it is open."""
        if self._clock() < self._retry_at:
            return False
        self._retry_at = self._clock() + self._retry
        try:
            self._start(self._opener.open_again(self._query, self._known))
        except StuckDeviceError as error:
            self._notify("warning", f"{error}; trying again")
            return False
        except (DeviceError, OSError):  # OSError as where no more files can be opened
            return False
        return True

    def _refuse(self) -> None:
        """It is no microphone: ALSA's null device, a default where no card is, gives whatever its memory holds."""
        if self.fault != TOO_FAST:
            self.fault = TOO_FAST
            self._notify(
                "warning",
                f"the microphone {self.name!r} gives sound faster than time, so it is none, and nothing of it is "
                "heard; choose another: edgecap devices",
            )

    def _lose(self) -> None:
        """Close it and search for it from now on; reported once, until sound comes again."""
        self.close()
        self._retry_at = self._clock() + self._retry
        if not self.fault:
            self.fault = "the microphone gives no sound"
            self._notify("warning", f"the microphone {self.name!r} gives no more sound; waiting for it to come back")
