"""The board before and after a run: its temperature, whether it is throttled, its clock."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgecap.live import thermal

SYSTEM = Path("/sys")
VCGENCMD = "vcgencmd"
"""The Raspberry Pi's own tool; older kernels give the throttle word through it alone."""
WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class BoardState:
    """One reading; None where the board does not report it."""

    celsius: float | None
    """Its hottest thermal zone."""
    throttled: bool | None
    """Whether its clock is held back: too hot, or too little voltage."""
    megahertz: float | None
    """Clock of its first core."""

    def __str__(self) -> str:
        parts = [] if self.celsius is None else [f"{self.celsius:.1f} °C"]
        parts += [] if self.throttled is None else ["throttled" if self.throttled else "not throttled"]
        parts += [] if self.megahertz is None else [f"{self.megahertz:.0f} MHz"]
        return ", ".join(parts) or "not reported"


def read_state(system: Path = SYSTEM) -> BoardState:
    """The board now, from the kernel's files below `system`, and from the Pi's tool for what those do not give."""
    heat = thermal.look(system)
    throttled: bool | None = heat.throttled or heat.undervoltage
    if not throttled and not (system / "devices/platform/soc/soc:firmware/get_throttled").exists():
        word = thermal.vcgencmd()
        throttled = None if word is None else bool(word & (thermal.THROTTLED_NOW | 1))
    return BoardState(heat.celsius, throttled, _megahertz(system))


def tool_output(tool: str, *words: str) -> str:
    """What a tool prints; empty where there is none or it fails."""
    try:
        done = subprocess.run([tool, *words], capture_output=True, text=True, timeout=WAIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout


def _megahertz(system: Path) -> float | None:
    try:
        return int((system / "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").read_text(encoding="ascii")) / 1000.0
    except (OSError, ValueError):
        return None
