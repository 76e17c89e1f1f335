"""Energy that the machine itself counts: RAPL on x86-64, the power chip of a Raspberry Pi 5.

RAPL counts microjoules of a processor package (Linux powercap; the counter starts again at its range). A Pi 5's chip
reports volts and amperes of each rail (`vcgencmd pmic_read_adc`); it is read every quarter of a second and the mean
power is taken. Both see the whole processor or board, idle power included.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edgecap_bench.harness.board_state import SYSTEM, VCGENCMD, tool_output

SAMPLE_SECONDS = 0.25
_RAIL = re.compile(r"^\s*(\S+)_([AV])\s+\w+\(\d+\)=([0-9.]+)[AV]\s*$", re.MULTILINE)


class EnergyMeter(Protocol):
    """Counts from `start` to `stop`."""

    source: str
    """What counts, for people."""

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self) -> float | None:
        """Joules since `start`; None where nothing was counted."""
        ...


def find_meter(system: Path = SYSTEM, tool: str = VCGENCMD) -> EnergyMeter | None:
    """The machine's own meter; None where it has none, or none that this user may read."""
    packages = [path for path in sorted(system.glob("class/powercap/*-rapl:*")) if _is_package(path)]
    packages = [path for path in packages if _number(path / "energy_uj") is not None]
    if packages:
        return RaplMeter(packages)
    if rails(tool_output(tool, "pmic_read_adc")):
        return PowerChipMeter(lambda: rails(tool_output(tool, "pmic_read_adc")))
    return None


class RaplMeter:
    """The processor packages' counters."""

    source = "RAPL, processor packages"

    def __init__(self, packages: list[Path]) -> None:
        self._packages = packages
        self._begin: list[int | None] = []

    def start(self) -> None:
        """Read the counters."""
        self._begin = [_number(path / "energy_uj") for path in self._packages]

    def stop(self) -> float | None:
        """Joules by the counters; None where one cannot be read."""
        joules = 0.0
        for path, begin in zip(self._packages, self._begin, strict=True):
            end = _number(path / "energy_uj")
            if begin is None or end is None:
                return None
            used = end - begin
            joules += (used if used >= 0 else used + (_number(path / "max_energy_range_uj") or 0)) / 1e6
        return joules


class PowerChipMeter:
    """Mean power of a board times the time."""

    source = "power chip of the board, all rails"

    def __init__(self, watts: Callable[[], float], every: float = SAMPLE_SECONDS) -> None:
        """`watts` reads the chip; `every` is the seconds between two readings."""
        self._watts, self._every = watts, every
        self._sample: list[float] = []
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._begin = 0.0

    def start(self) -> None:
        """Begin to sample the power."""
        self._sample, self._begin = [], time.monotonic()
        self._done.clear()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float | None:
        """Joules by the mean power; None where the chip does not answer."""
        seconds = time.monotonic() - self._begin
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        known = [watts for watts in self._sample if watts > 0]
        return sum(known) / len(known) * seconds if known else None

    def _watch(self) -> None:
        while True:
            self._sample.append(self._watts())
            if self._done.wait(self._every):
                return


def rails(text: str) -> float:
    """Watts over all rails of which `vcgencmd pmic_read_adc` gives both current and voltage; 0 where it gives none."""
    by_rail: dict[str, dict[str, float]] = {}
    for rail, quantity, number in _RAIL.findall(text):
        by_rail.setdefault(rail, {})[quantity] = float(number)
    return sum(both["A"] * both["V"] for both in by_rail.values() if len(both) == 2)


def _is_package(path: Path) -> bool:
    """Whether a zone is a whole package: its parts (cores, memory) are counted in it."""
    try:
        return (path / "name").read_text(encoding="ascii").startswith("package")
    except OSError:
        return False


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
