"""The machine and the software that a result was measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("edgecap", "numpy", "onnxruntime", "soundfile", "soxr")


@dataclass(frozen=True)
class Machine:
    """The machine and its system. Nothing that names its owner or its place in a network."""

    board: str
    """Name of the board where it has one (a Raspberry Pi), else empty."""
    processor: str
    architecture: str
    cores: int
    """Cores that this process may use."""
    memory_bytes: int
    system: str
    kernel: str
    governor: str
    """How the clock frequency is chosen; empty where the system does not report it."""


def this_machine() -> Machine:
    """The machine this runs on."""
    return Machine(
        board=_first_line("/proc/device-tree/model").rstrip("\0"),
        processor=processor(_text("/proc/cpuinfo")) or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=_system(),
        kernel=f"{platform.system()} {platform.release()}",
        governor=_first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    )


def versions(*more: str) -> dict[str, str]:
    """Versions of Python, of the packages that do the work, and of `more`."""
    numbers = {"python": platform.python_version()}
    for package in (*PACKAGES, *more):
        try:
            numbers[package] = version(package)
        except PackageNotFoundError:
            numbers[package] = "not installed"
    return numbers


def now() -> str:
    """The date and time in ISO 8601 with the offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def processor(cpuinfo: str) -> str:
    """The processor's name in the text of /proc/cpuinfo; empty where it has none (most Arm boards)."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return ""


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _first_line(path: str) -> str:
    return (_text(path).splitlines() or [""])[0].strip()


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
