"""How microphones are opened and opened again, one or several of them.

PortAudio lists devices once, when it starts, and restarting it ends every open stream. So while other microphones
are open, a child process checks whether the missing one is back; only then are the others closed for a moment.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edgecap.audio.microphone import InputDevice, Microphone, find_device, list_devices, rescan
from edgecap.audio.sound_cards import plain_name, port_of
from edgecap.errors import DeviceError

CARDS = Path("/proc/asound/cards")
LATENESS = 0.25
"""Of a microphone's absence: so much later than it came back it may be found."""
MOST_DOUBLED = 20
"""Times that the pause between two searches is doubled: far more than the longest pause needs."""
LOOK = (
    "from edgecap.audio.microphone import list_devices\nfor device in list_devices(): print(device.index, device.name)"
)


class Microphones:
    """All microphones of one listener."""

    def __init__(
        self,
        ring_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        first_look: float = 2.0,
        longest_look: float = 30.0,
    ) -> None:
        """`ring_seconds` is the most sound held between a callback and its reader.

        A missing one is searched for every `first_look` seconds, and after a longer absence every quarter of it, up to
        `longest_look`: it is found at most so much later than it came. A change of the kernel's list of cards begins
        anew.
        """
        self._ring_seconds, self._clock = ring_seconds, clock
        self._first_look, self._longest_look = first_look, longest_look
        self._open: list[Microphone] = []
        self._ports: dict[str, str | None] = {}
        self._look: subprocess.Popen[str] | None = None
        self._missing: dict[str | None, float] = {}
        self._in_vain: Counter[str | None] = Counter()
        self._cards, self._cards_changed, self._searched = "", float("-inf"), float("-inf")

    def open(self, query: str | None) -> Microphone:
        """Open the microphone that the user named. Raises DeviceError, MissingDependencyError."""
        return self._start(find_device(query))

    def open_again(self, query: str | None, known: bool) -> Microphone:
        """Search for a missing one; `known` says that `query` is the full name of one that was open.

        Raises DeviceError where it is not there (yet).
        """
        for microphone in self._open:
            if not microphone.active:
                microphone.close()  # its own source may not have noticed yet, and no stream may outlive a rescan
        self._open = [microphone for microphone in self._open if microphone.active]
        self._missing.setdefault(query, self._clock())
        if self._open:
            self._wait_for(query)
            self._in_vain[query] += 1  # until it is heard
        elif not self._due(query):
            raise DeviceError(f"no microphone is called {query!r}; see edgecap devices")
        for microphone in self._open:
            microphone.close()
        rescan()
        for microphone in self._open:
            with suppress(DeviceError):  # then it stays closed, and its own source looks for it
                microphone.reopen(self._find(microphone.device.name))
        return self._start(self._find(query) if known and query else find_device(query))

    def heard(self, name: str | None) -> None:
        """The microphone gives sound; the next search for it is for a new absence.

        That it opens does not say so: one that opens and gives nothing is still missing.
        """
        self._missing.pop(name, None)
        del self._in_vain[name]

    def close(self) -> None:
        """End the child process, where there is one."""
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
        """The device that was called `name`, by its name or its plug, whatever its number is now."""
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

    def _due(self, query: str | None) -> bool:
        """Whether to search now for one that is missing.

        Each start of PortAudio leaks some 13 kB (measured, 19.6 with ALSA 1.2.8), too much for once a second; and one
        that is listed but does not open closes the others for a moment each time, so it waits twice as long each time.
        """
        cards, now = CARDS.read_text(encoding="utf-8", errors="replace") if CARDS.exists() else "", self._clock()
        if cards != self._cards:
            self._cards, self._cards_changed, self._searched = cards, now, float("-inf")
        absence = now - max(self._missing[query], self._cards_changed)
        shortest = self._first_look * 2 ** min(self._in_vain[query], MOST_DOUBLED)
        if now - self._searched < min(self._longest_look, max(shortest, LATENESS * absence)):
            return False
        self._searched = now
        return True

    def _wait_for(self, query: str | None) -> None:
        """Return when the child process has seen the microphone. Raises DeviceError until then; never waits."""
        if self._look is None and self._due(query):
            with suppress(OSError):  # no memory or no process left; later there may be
                self._look = subprocess.Popen(
                    [sys.executable, "-c", LOOK],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
        elif self._look is not None and self._look.poll() is not None:
            listed = [line.partition(" ")[::2] for line in self._look.communicate()[0].splitlines()]
            self._look = None
            open_names = {microphone.device.name for microphone in self._open}
            free = [(number, name) for number, name in listed if name not in open_names]
            if any(query in (None, number) or plain_name(query).casefold() in name.casefold() for number, name in free):
                return
        raise DeviceError(f"no microphone is called {query!r}; see edgecap devices")
