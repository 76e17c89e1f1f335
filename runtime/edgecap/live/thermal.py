"""The temperature of the board and whether it is throttled, from files of the kernel."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HOT_CELSIUS = 80.0
"""Where a Raspberry Pi begins to slow down."""
THROTTLED_NOW = 0b1110
"""Bits of the Pi firmware's word: frequency capped, throttled, soft temperature limit (bit 0 is the voltage)."""
ROOT = Path("/sys")


@dataclass(frozen=True)
class Heat:
    """A reading of the board."""

    celsius: float | None
    """The hottest thermal zone; None where there is none."""
    throttled: bool
    undervoltage: bool

    @property
    def hot(self) -> bool:
        """Whether captions should be made less often."""
        return self.throttled or (self.celsius is not None and self.celsius >= HOT_CELSIUS)


def look(root: Path = ROOT) -> Heat:
    """Read the temperature and the throttle word; unreadable values count as unknown and not hot."""
    try:
        zones = [_number(path, 10) for path in root.glob("class/thermal/thermal_zone*/temp")]
    except OSError:  # as where no more files can be opened
        zones = []
    known = [zone / 1000.0 for zone in zones if zone is not None]
    word = _number(root / "devices/platform/soc/soc:firmware/get_throttled", 16) or 0
    return Heat(max(known, default=None), bool(word & THROTTLED_NOW), bool(word & 1))


def vcgencmd() -> int | None:
    """The throttle word from the firmware's tool; its upper half is what happened since the start.

    None where the tool is missing or does not answer, as on other machines than a Raspberry Pi.
    """
    tool = shutil.which("vcgencmd")
    if tool is None:
        return None
    try:
        answer = subprocess.run([tool, "get_throttled"], capture_output=True, text=True, check=True, timeout=5).stdout
        return int(answer.partition("=")[2], 16)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _number(path: Path, base: int) -> int | None:
    try:
        return int(path.read_text(encoding="ascii").strip(), base)
    except (OSError, ValueError):
        return None
