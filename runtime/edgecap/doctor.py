"""Checks of everything that may keep a machine from listening; each result says what to type.

Checks change nothing. The one that opens the microphone records for a second and a half and keeps nothing.
"""

from __future__ import annotations

import ctypes
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np

from edgecap.audio.captured import CapturedMicrophone, sound_system
from edgecap.audio.microphone import JOIN_GROUP, InputDevice, find_device
from edgecap.audio.samples import loudest_level, to_mono
from edgecap.audio.sound_cards import forbidden, holders
from edgecap.bundle.models import home
from edgecap.errors import EdgecapError
from edgecap.live.config.listen_config import ListenConfig, MicrophoneConfig, microphones, written_folders
from edgecap.live.pipeline.hop_control import SHARE_LIMIT
from edgecap.live.sources.opening import open_sources
from edgecap.live.thermal import HOT_CELSIUS, THROTTLED_NOW, Heat, look, vcgencmd
from edgecap.live.threads import load_listening, slower_way

State = Literal["ok", "note", "fault"]
"""A "fault" keeps edgecap from listening well; a "note" is worth knowing."""
LISTEN_SECONDS = 1.5
PROGRAM_RATE = 16_000
"""Rate that programs are asked for, in hertz."""
CAPTIONS = 3
"""Captions timed, after one that is not."""
CLIPPED_SHARE = 1e-3
"""Share of samples at full scale above which a microphone is set too loud."""
LEAST_DISK = 200e6
"""Free bytes below which a journal of weeks may not fit."""
UNSYNCHRONISED = 5
"""Return value of adjtimex(2) for a clock that is not synchronised (TIME_ERROR)."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check."""

    check: str
    state: State
    message: str
    advice: str = ""
    """What to type next; empty where all is well."""

    def document(self) -> dict[str, object]:
        """The result as `edgecap doctor --json` prints it."""
        return {"check": self.check, "state": self.state, "found": self.message, "type": self.advice}


def examine(config: ListenConfig) -> Iterator[CheckResult]:
    """All results for listening with this configuration, in the order in which to fix faults."""
    devices = any(each is None or each.device is not None for each in microphones(config))
    for check, results, otherwise in (
        ("portaudio", _portaudio() if devices else iter(()), "edgecap devices"),
        ("holders", _holders() if devices else iter(()), "edgecap devices"),
        ("level", _levels(config), "edgecap devices"),
        ("model", _model(config), "edgecap models"),
        ("heat", heat(look(), vcgencmd()), "vcgencmd get_throttled"),
        ("disk", _disk(config), "df -h"),
        ("clock", iter([clock_result(synchronised())]), "date"),
    ):
        try:
            yield from results
        except EdgecapError as error:
            yield _from(error, check, otherwise)


def _portaudio() -> Iterator[CheckResult]:
    system = sound_system()
    yield CheckResult("portaudio", "ok", system.version)
    yield _devices(system.devices)


def _devices(devices: Sequence[InputDevice]) -> CheckResult:
    if nodes := forbidden():
        message = f"you are not permitted to open {', '.join(map(str, nodes))}"
        return CheckResult("devices", "fault", message, JOIN_GROUP.partition("type: ")[2])
    if not devices:
        return CheckResult("devices", "fault", "no microphone is connected; plug one in", "arecord -l")
    names = ", ".join(f"{device.index} {device.name}{' (default)' if device.default else ''}" for device in devices)
    return CheckResult("devices", "ok", names)


def _holders() -> Iterator[CheckResult]:
    processes = holders()
    for holder in processes:
        message = f"{holder.name} (process {holder.process}) holds {holder.node}"
        yield CheckResult("holders", "note", message, f"kill {holder.process}")
    if not processes:
        yield CheckResult("holders", "ok", "no process that you may inspect holds a sound device")


def _levels(config: ListenConfig) -> Iterator[CheckResult]:
    for microphone in microphones(config):
        try:
            if microphone is None or microphone.device is not None:
                yield level(*_heard(microphone))
            else:
                yield level(*_received(microphone))
        except EdgecapError as error:
            yield _from(error, "level", "edgecap devices")


def _heard(microphone: MicrophoneConfig | None) -> tuple[str, np.ndarray, int]:
    """Name, sound (n, channels) and rate of a device."""
    query = None if microphone is None else microphone.device
    with CapturedMicrophone(partial(find_device, query), LISTEN_SECONDS + 1.0) as captured:
        opened = captured.opened()
        time.sleep(LISTEN_SECONDS)
        return opened.device.name, opened.ring.read()[0], round(opened.sample_rate)


def _received(microphone: MicrophoneConfig) -> tuple[str, np.ndarray, int]:
    """The same of a camera or a source of a sound server."""
    only = ListenConfig(microphones=[microphone])
    with ExitStack() as stack:
        (source,) = open_sources(only, PROGRAM_RATE, LISTEN_SECONDS, lambda _kind, _message: None, stack)
        until, parts = time.monotonic() + LISTEN_SECONDS, []
        while time.monotonic() < until:
            parts.append(source.read(0.1).samples)
    return source.name, np.concatenate(parts)[:, None], PROGRAM_RATE


def level(name: str, block: np.ndarray, rate: int) -> CheckResult:
    """The check of a microphone's sound: shape (n, channels), a second and a half at `rate` hertz."""
    state: State = "fault"
    if not len(block):
        message, advice = f"{name} opens but delivers no samples", "edgecap devices"
    elif float(np.ptp(block)) == 0.0:
        message = f"{name} delivers one constant value: it is muted or its cable is unplugged"
        advice = "pactl set-source-mute @DEFAULT_SOURCE@ 0 || alsamixer -V capture"
    elif (clipped := float(np.mean(np.abs(block) >= 0.999))) > CLIPPED_SHARE:
        state, advice = "note", "alsamixer -V capture"
        message = f"{name} is at full scale {100 * clipped:.1f} % of the time: turn it down"
    else:
        state, advice = "ok", ""
        message = f"{name} at {rate} Hz, loudest 100 ms {loudest_level(to_mono(block), rate):.1f} dBFS"
    return CheckResult("level", state, message, advice)


def _model(config: ListenConfig, clock: Callable[[], float] = time.perf_counter) -> Iterator[CheckResult]:
    captioner, threads = load_listening(config, len(microphones(config)))  # compares every hash
    manifest = captioner.manifest
    message = f"{manifest.name} ({manifest.runtime} {manifest.precision}), all SHA-256 as listed"
    yield CheckResult("model", "ok", message)
    if slower := slower_way(captioner):
        message, _, advice = slower.partition("; type: ")
        yield CheckResult("model", "note", message, advice)
    yield CheckResult("threads", "ok", f"{threads.threads} for captions: {threads.reason}")
    rate, seconds = manifest.front_end.sample_rate, []
    samples = (np.random.default_rng(0).standard_normal(round(captioner.window * rate)) * 0.1).astype(np.float32)
    for _ in range(CAPTIONS + 1):
        began = clock()
        captioner.caption(samples, rate, beam=config.model.beam)
        seconds.append(clock() - began)
    yield speed(median(seconds[1:]), config.stream.hop, len(microphones(config)))


def speed(seconds: float, hop: float, streams: int = 1) -> CheckResult:
    """Whether captions that take so many seconds each fit into a hop."""
    share = seconds * streams / hop
    message = f"a caption takes {1000 * seconds:.0f} ms, {100 * share:.1f} % of a hop of {hop:g} s"
    message += f" with {streams} microphones" if streams > 1 else ""
    if share > SHARE_LIMIT:
        longer = f"edgecap listen --hop {ceil(seconds * streams / 0.5)}"
        return CheckResult("speed", "fault", f"{message}: too slow", longer)
    return CheckResult("speed", "ok", message)


def heat(now: Heat, throttle_flags: int | None) -> Iterator[CheckResult]:
    """Temperature and throttling; `throttle_flags` are those of a Raspberry Pi's firmware, None on other machines."""
    flags = throttle_flags or 0
    celsius = "" if now.celsius is None else f"{now.celsius:.0f} °C"
    if now.undervoltage or flags & 1:
        message = "the voltage is too low; use the board's own power supply and a short cable"
        yield CheckResult("power", "fault", message, "vcgencmd get_throttled")
    if now.throttled or flags & THROTTLED_NOW or (now.celsius is not None and now.celsius >= HOT_CELSIUS):
        message = f"{celsius or 'the board'} is too hot and throttled; cool it, or use longer hops"
        yield CheckResult("heat", "fault", message, "edgecap listen --hop 4")
    elif flags >> 16:
        message = f"{celsius} now, but since boot it was throttled or its voltage was too low"
        yield CheckResult("heat", "note", message, "vcgencmd get_throttled")
    else:
        yield CheckResult("heat", "ok", celsius or "this machine reports no temperature")


def _disk(config: ListenConfig) -> Iterator[CheckResult]:
    folders = written_folders(config) or [home()]
    for folder in sorted({_existing(path.expanduser().absolute()) for path in folders}):
        free = shutil.disk_usage(folder).free
        enough = free >= LEAST_DISK
        message = f"{free / 1e6:.0f} MB free at {folder}"
        yield CheckResult("disk", "ok" if enough else "fault", message, "" if enough else f"df -h {folder}")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def clock_result(known: bool | None) -> CheckResult:
    """Whether the clock is synchronised, as `synchronised` says."""
    now = time.strftime("%Y-%m-%d %H:%M:%S %z")
    if known is None:
        return CheckResult("clock", "note", f"{now}; this system does not report whether it is right", "date")
    if known:
        return CheckResult("clock", "ok", f"{now}, synchronised by NTP")
    message = f"{now}, not synchronised by NTP: events may get wrong dates"
    return CheckResult("clock", "note", message, "sudo timedatectl set-ntp true")


def synchronised() -> bool | None:
    """Whether NTP disciplines the kernel's clock (adjtimex(2)); None where the system does not say."""
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None
    nothing = ctypes.create_string_buffer(512)  # zeros change nothing; the kernel's structure has at most 208 bytes
    state = int(adjtimex(nothing))
    return None if state < 0 else state != UNSYNCHRONISED


def _from(error: EdgecapError, check: str, otherwise: str) -> CheckResult:
    """An error as a result, with its own advice on what to type where it has one."""
    message, _, advice = str(error).partition("type: ")
    return CheckResult(check, "fault", message.rstrip("; "), advice or otherwise)
