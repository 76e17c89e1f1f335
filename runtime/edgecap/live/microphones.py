"""How microphones are opened and opened again, one or several of them.

PortAudio lists devices once, when it starts, and starting it anew ends every open stream. So while other microphones
are open, a process of its own looks whether the missing one is back; only then are the others closed for a moment.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edgecap.errors import DeviceError
from edgecap.microphone import InputDevice, Microphone, find_device, list_devices, rescan
from edgecap.sound_cards import plain_name, port_of

CARDS = Path("/proc/asound/cards")
FIRST_LOOK, LONGEST_LOOK = 2.0, 30.0
"""Seconds between two looks by the other process; a change of the kernel's list of cards shortens them."""
LOOK = "from edgecap.microphone import list_devices\nfor device in list_devices(): print(device.index, device.name)"


class Microphones:
    """All microphones of one listener."""

    def __init__(self, ring_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`ring_seconds` is the most sound held between a callback and its reader."""
        self._ring_seconds, self._clock = ring_seconds, clock
        self._open: list[Microphone] = []
        self._ports: dict[str, str | None] = {}
        self._look: subprocess.Popen[str] | None = None
        self._interval, self._next = FIRST_LOOK, 0.0
        self._cards = ""

    def open(self, query: str | None) -> Microphone:
        """Open a microphone as it is asked for. Raises DeviceError, MissingDependencyError."""
        return self._start(find_device(query))

    def open_again(self, query: str | None, known: bool) -> Microphone:
        """Look anew for one that is missing; `known` says that `query` is the full name of one that was open.

        Raises DeviceError where it is not there (yet).
        """
        for microphone in self._open:
            if not microphone.active:
                microphone.close()  # its own source may not have noticed yet, and no stream may outlive a rescan
        self._open = [microphone for microphone in self._open if microphone.active]
        if self._open:
            self._wait_for(query)
        for microphone in self._open:
            microphone.close()
        rescan()
        for microphone in self._open:
            with suppress(DeviceError):  # then it stays closed, and its own source looks for it
                microphone.reopen(self._find(microphone.device.name))
        found = self._start(self._find(query) if known and query else find_device(query))
        self._interval, self._next = FIRST_LOOK, 0.0
        return found

    def close(self) -> None:
        """End the process that looks for devices, where there is one."""
        if self._look is not None:
            self._look.kill()
            self._look.communicate()
            self._look = None

    def _start(self, device: InputDevice) -> Microphone:
        microphone = Microphone(device, self._ring_seconds)
        self._ports[device.name] = port_of(device.name)
        self._open.append(microphone)
        return microphone

    def _find(self, name: str) -> InputDevice:
        """The device that was called `name`, by its name or its plug, whatever numbers it has now."""
        port = self._ports.get(name)
        alike = [device for device in list_devices() if plain_name(device.name) == plain_name(name)]
        for fits in (
            [device for device in alike if port is not None and port_of(device.name) == port],
            [device for device in alike if device.name == name],
            alike,
        ):
            if len(fits) == 1:
                return fits[0]
        raise DeviceError(f"no microphone is called {name!r}; see edgecap devices")

    def _wait_for(self, query: str | None) -> None:
        """Return when another process has seen the microphone. Raises DeviceError until then; never waits."""
        cards = CARDS.read_text(encoding="utf-8", errors="replace") if CARDS.exists() else ""
        if cards != self._cards:
            self._cards, self._interval, self._next = cards, FIRST_LOOK, 0.0
        if self._look is None and self._clock() >= self._next:
            try:
                self._look = subprocess.Popen([sys.executable, "-c", LOOK], stdin=subprocess.DEVNULL,
                                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            except OSError:  # no memory or no process left; later there may be
                self._next = self._clock() + self._interval
        elif self._look is not None and self._look.poll() is not None:
            listed = [line.partition(" ")[::2] for line in self._look.communicate()[0].splitlines()]
            self._look = None
            # Longer after a look in vain, and where what was seen did not open: the others were closed for it.
            self._next = self._clock() + self._interval
            self._interval = min(LONGEST_LOOK, 2 * self._interval)
            open_names = {microphone.device.name for microphone in self._open}
            free = [(number, name) for number, name in listed if name not in open_names]
            if any(query in (None, number) or plain_name(query).casefold() in name.casefold() for number, name in free):
                return
        raise DeviceError(f"no microphone is called {query!r}; see edgecap devices")
