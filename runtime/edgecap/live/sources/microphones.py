"""How microphones are opened and opened again, one or several of them, each in a process of its own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from edgecap.audio.captured import CapturedMicrophone
from edgecap.audio.microphone import InputDevice, find_device
from edgecap.audio.sound_cards import plain_name, port_of
from edgecap.errors import DeviceError
from edgecap.util.limits import MOST_CARDS

CARDS = Path("/proc/asound/cards")
LATENESS = 0.25
"""Of a microphone's absence: so much later than it came back it may be found."""
MOST_DOUBLED = 20
"""Times that the pause between two searches is doubled: far more than the longest pause needs."""
SOON = 0.3
"""Seconds for which a search holds up the other microphones; most are over by then."""


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
        """`ring_seconds` is the most sound held between a microphone and its reader.

        A missing one is searched for every `first_look` seconds, and after a longer absence every quarter of it, up to
        `longest_look`: it is found at most so much later than it came. A change of the kernel's list of cards begins
        anew.
        """
        self._ring_seconds, self._clock = ring_seconds, clock
        self._first_look, self._longest_look = first_look, longest_look
        self._open: list[CapturedMicrophone] = []
        self._ports: dict[str, str | None] = {}
        self._searches: dict[str | None, CapturedMicrophone] = {}
        self._missing: dict[str | None, float] = {}
        self._searched: dict[str | None, float] = {}
        self._in_vain: Counter[str | None] = Counter()
        self._cards, self._cards_changed = "", float("-inf")

    def open(self, query: str | None) -> CapturedMicrophone:
        """Open the microphone that the user named. Raises DeviceError, StuckDeviceError, MissingDependencyError."""
        return self._taken(self._capture(partial(find_device, query)))

    def open_again(self, query: str | None, known: bool) -> CapturedMicrophone:
        """Search for a missing one; `known` says that `query` is the full name of one that was open.

        Raises DeviceError where it is not there (yet), StuckDeviceError where the sound system hangs.
        """
        self._open = [microphone for microphone in self._open if microphone.active]
        self._missing.setdefault(query, self._clock())
        search = self._searches.get(query)
        if search is None:
            if not self._due(query):
                raise DeviceError(f"no microphone is called {query!r}; see edgecap devices")
            choose = partial(self._find, query) if known and query else partial(self._choose, query)
            search = self._searches[query] = self._capture(choose)
        if not search.settled(SOON):
            raise DeviceError(f"no microphone is called {query!r} yet; see edgecap devices")
        del self._searches[query]
        microphone = self._taken(search)
        self._in_vain[query] += 1  # until it is heard
        return microphone

    def heard(self, name: str | None) -> None:
        """The microphone gives sound; the next search for it is for a new absence.

        That it opens does not say so: one that opens and gives nothing is still missing.
        """
        self._missing.pop(name, None)
        del self._in_vain[name]

    def close(self) -> None:
        """End the searches."""
        for search in self._searches.values():
            search.close()
        self._searches.clear()

    def _capture(self, choose: Callable[[Sequence[InputDevice]], InputDevice]) -> CapturedMicrophone:
        return CapturedMicrophone(choose, self._ring_seconds)

    def _taken(self, search: CapturedMicrophone) -> CapturedMicrophone:
        microphone = search.opened()
        self._ports[microphone.device.name] = port_of(microphone.device.name)
        self._open.append(microphone)
        return microphone

    def _choose(self, query: str | None, devices: Sequence[InputDevice]) -> InputDevice:
        """One that was never open, so none of those that are: a part of a name may fit them too."""
        taken = {microphone.device.name for microphone in self._open}
        return find_device(query, [device for device in devices if device.name not in taken])

    def _find(self, name: str, devices: Sequence[InputDevice]) -> InputDevice:
        """The device that was called `name`, by its name or its plug, whatever its number is now."""
        port = self._ports.get(name)
        alike = [device for device in devices if plain_name(device.name) == plain_name(name)]
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

        Each search starts a process, which takes a sixth of a second of the processor on a PC: too much for once a
        second. One that opens and gives nothing waits twice as long each time.
        """
        cards, now = _cards(), self._clock()
        if cards != self._cards:
            self._cards, self._cards_changed = cards, now
            self._searched.clear()
        absence = now - max(self._missing[query], self._cards_changed)
        shortest = self._first_look * 2 ** min(self._in_vain[query], MOST_DOUBLED)
        searched = self._searched.get(query, float("-inf"))
        if now - searched < min(self._longest_look, max(shortest, LATENESS * absence)):
            return False
        self._searched[query] = now
        return True


def _cards() -> str:
    """The kernel's list of sound cards; empty where it has none."""
    if not CARDS.exists():
        return ""
    with CARDS.open(encoding="utf-8", errors="replace") as file:
        return file.read(MOST_CARDS)
