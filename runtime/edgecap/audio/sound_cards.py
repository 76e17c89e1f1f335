"""Sound cards as Linux lists them: their capture devices, their ports, who holds them, who may use them.

Read from /proc/asound, /sys/class/sound, /dev/snd and /proc/PID/fd only, so no device is opened. On other systems, and
for devices of a sound server, everything is unknown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecap.util.text import clean

ROOT = Path("/")
GROUP = "audio"
"""The group that owns sound devices on Debian and Raspberry Pi OS."""
_HARDWARE = re.compile(r" \(hw:(\d+),(\d+)\)$")
"""End of an ALSA device's name in PortAudio: the numbers of card and device, which change."""
_NODE = re.compile(r"pcmC(\d+)D(\d+)c$")
_LISTED = re.compile(r"^(\d+)-(\d+):.*: capture ")


@dataclass(frozen=True)
class Holder:
    """A process with an open capture device."""

    node: str
    """Path of the device, as /dev/snd/pcmC1D0c."""
    process: int
    name: str
    """Name of the process."""


def plain_name(device: str) -> str:
    """A device's name without the numbers that change when something else is plugged in."""
    return _HARDWARE.sub("", device)


def card_of(device: str) -> int | None:
    """The number of the sound card in a device's name; None for devices of a sound server."""
    match = _HARDWARE.search(device)
    return int(match[1]) if match else None


def port_of(device: str, root: Path = ROOT) -> str | None:
    """The port that a device's card is plugged into, which stays when numbers change; None where unknown."""
    card = card_of(device)
    path = root / f"sys/class/sound/card{card}/device"
    return None if card is None or not path.exists() else os.path.realpath(path)


def capture_nodes(root: Path = ROOT) -> list[Path]:
    """Device files of all capture devices that the kernel lists."""
    try:
        lines = (root / "proc/asound/pcm").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    matches = [match for line in lines if (match := _LISTED.match(f"{line} "))]
    return [root / f"dev/snd/pcmC{int(match[1])}D{int(match[2])}c" for match in matches]


def forbidden(root: Path = ROOT) -> list[Path]:
    """Existing capture devices that this user is not permitted to open."""
    return [node for node in capture_nodes(root) if node.exists() and not os.access(node, os.R_OK | os.W_OK)]


def holders(root: Path = ROOT) -> list[Holder]:
    """Processes with an open capture device, as far as this user may see."""
    return [
        Holder(f"/dev/snd/{match[0]}", int(process.name), _name_of(process))
        for process in sorted((root / "proc").glob("[0-9]*"), key=lambda path: int(path.name))
        for target in set(_open_files(process))
        if (match := _NODE.search(target))
    ]


def _open_files(process: Path) -> Iterator[str]:
    try:
        names = sorted((process / "fd").iterdir())
    except OSError:
        return
    for name in names:
        try:
            yield str(name.readlink())
        except OSError:
            continue


def _name_of(process: Path) -> str:
    try:
        return clean((process / "comm").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return "?"
