"""A microphone that may come and go.

It is opened as it was asked for, and remembered by its name: numbers change when something else is plugged in.
When it gives nothing any more it is closed and looked for, once a second, until it is back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from edgecap.errors import DeviceError
from edgecap.frontend import Samples
from edgecap.live.source import NOTHING, Chunk, Intake, Tell
from edgecap.microphone import InputDevice, Microphone, find_device, list_devices, rescan

DEAF_SECONDS = 3.0
"""A microphone that gives nothing for this long is taken for lost."""
RETRY_SECONDS = 1.0


class _Ring(Protocol):
    def read(self) -> tuple[Samples, int]: ...


class OpenMicrophone(Protocol):
    """What is needed of an open microphone."""

    sample_rate: float
    device: InputDevice
    overflows: int

    @property
    def ring(self) -> _Ring:
        """Where its sound is."""
        ...

    @property
    def active(self) -> bool:
        """Whether sound still comes."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


Open = Callable[[str | None, bool], OpenMicrophone]
"""Opens a microphone: what was asked for, and whether that is the exact name of one that was lost."""


def opener(ring_seconds: float) -> Open:
    """How real microphones are opened; `ring_seconds` is the most sound held between callback and reader."""

    def open_microphone(query: str | None, lost: bool) -> Microphone:
        if not lost:
            return Microphone(find_device(query), ring_seconds)
        rescan()
        for device in list_devices():
            if device.name == query:
                return Microphone(device, ring_seconds)
        raise DeviceError(f"no microphone is called {query!r}; see edgecap devices")

    return open_microphone


class MicrophoneSource:
    """The sound of one microphone, through losses and returns."""

    lossless = False
    speed = 1.0
    ended = False

    def __init__(
        self, query: str | None, target_rate: int, open_microphone: Open, tell: Tell, *, wait: bool = False,
        clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open it. Raises DeviceError where that fails, unless `wait`: then it is looked for until it is there."""
        self._target_rate, self._open, self._tell = target_rate, open_microphone, tell
        self._clock, self._sleep = clock, sleep
        self._query, self._known = query, False
        self._microphone: OpenMicrophone | None = None
        self._overflows = 0
        self._retry_at = self._last = clock()
        self._fresh = False
        try:
            self._start()
        except DeviceError as error:
            if not wait:
                raise
            tell("warning", f"{error}; waiting for it")
            self._retry_at = clock() + RETRY_SECONDS

    @property
    def name(self) -> str:
        """The microphone's name."""
        return self._query or "the default microphone"

    @property
    def connected(self) -> bool:
        """Whether it is open."""
        return self._microphone is not None

    @property
    def overflows(self) -> int:
        """See `Source.overflows`."""
        return self._overflows + (self._microphone.overflows if self._microphone else 0)

    def read(self, timeout: float) -> Chunk:
        """See `Source.read`."""
        if self._microphone is None and not self._find():
            self._sleep(timeout)
            return Chunk(NOTHING)
        microphone = self._microphone
        assert microphone is not None
        self._sleep(timeout)
        block, lost = microphone.ring.read()
        if not len(block):
            if not microphone.active or self._clock() - self._last > DEAF_SECONDS:
                self._lose()
            return Chunk(NOTHING)
        self._last = self._clock()
        fresh, self._fresh = self._fresh, False
        return Chunk(self._intake.push(block), lost / microphone.sample_rate, fresh)

    def close(self) -> None:
        """See `Source.close`."""
        if self._microphone is not None:
            self._overflows = self.overflows
            self._microphone.close()
            self._microphone = None

    def _start(self) -> None:
        """Open it and remember its name."""
        microphone = self._open(self._query, self._known)
        self._microphone = microphone
        self._query, self._known = microphone.device.name, True
        self._intake = Intake(microphone.sample_rate, self._target_rate)
        self._last, self._fresh = self._clock(), True

    def _find(self) -> bool:
        """Look for it where it is time to; whether it is open."""
        if self._clock() < self._retry_at:
            return False
        self._retry_at = self._clock() + RETRY_SECONDS
        try:
            if not self._known:
                rescan()
            self._start()
        except DeviceError:
            return False
        assert self._microphone is not None
        self._tell("note", f"the microphone {self.name!r} is there; listening at {self._microphone.sample_rate:g} Hz")
        return True

    def _lose(self) -> None:
        self.close()
        self._retry_at = self._clock() + RETRY_SECONDS
        self._tell("warning", f"the microphone {self.name!r} gives no more sound; waiting for it to come back")
