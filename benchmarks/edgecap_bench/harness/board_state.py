"""The board before and after a run: how hot, whether held back, how fast its clock."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgecap.live import thermal

SYSTEM = Path("/sys")
VCGENCMD = "vcgencmd"
"""The Raspberry Pi's own tool; older kernels tell the throttle word through it alone."""
WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Condition:
    """A look at the board; None where it does not say."""

    celsius: float | None
    """Its hottest thermal zone."""
    throttled: bool | None
    """Whether its clock is held back: too hot, or too little voltage."""
    megahertz: float | None
    """Clock of its first core."""

    def __str__(self) -> str:
        held = {True: "held back", False: "not held back", None: ""}[self.throttled]
        parts = [
            "" if self.celsius is None else f"{self.celsius:.1f} °C",
            held,
            "" if self.megahertz is None else f"{self.megahertz:.0f} MHz",
        ]
        return ", ".join(part for part in parts if part) or "the board does not say"


def look(system: Path = SYSTEM, tool: str = VCGENCMD) -> Condition:
    """The board now, from the kernel's files below `system`, and from the Pi's tool for what those do not tell."""
    heat = thermal.look(system)
    throttled: bool | None = heat.throttled or heat.undervoltage
    if not throttled and not (system / "devices/platform/soc/soc:firmware/get_throttled").exists():
        throttled = _told_by(tool)
    return Condition(heat.celsius, throttled, _megahertz(system))


def ask(tool: str, *words: str) -> str:
    """What a tool prints; empty where there is none or it fails."""
    try:
        done = subprocess.run([tool, *words], capture_output=True, text=True, timeout=WAIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout


def _told_by(tool: str) -> bool | None:
    """The lowest four bits of "throttled=0x50000" are the present, those above are since the start."""
    name, _, word = ask(tool, "get_throttled").strip().partition("=")
    try:
        return bool(int(word, 16) & 0b1111) if name == "throttled" else None
    except ValueError:
        return None


def _megahertz(system: Path) -> float | None:
    try:
        return int((system / "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").read_text(encoding="ascii")) / 1000.0
    except (OSError, ValueError):
        return None
