"""What may keep a machine from listening, looked at one by one; each finding says what to type.

Checks only look. The one that opens the microphone listens for a second and a half and keeps nothing.
"""

from __future__ import annotations

import ctypes
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np

from edgecap.audio.microphone import JOIN_GROUP, Microphone, find_device, list_devices, portaudio_version
from edgecap.audio.samples import loudest_level, to_mono
from edgecap.audio.sound_cards import forbidden, holders
from edgecap.bundle.models import home
from edgecap.captioner import Captioner
from edgecap.errors import EdgecapError
from edgecap.live.config.listen_config import ListenConfig, microphones
from edgecap.live.session import rehearse
from edgecap.live.thermal import HOT_CELSIUS, THROTTLED_NOW, Heat, look, vcgencmd

State = Literal["ok", "note", "fault"]
LISTEN_SECONDS = 1.5
CAPTIONS = 3
"""Captions timed, after one that is not."""
SHARE_LIMIT = 0.8
"""Share of a hop that a caption may take (`edgecap.live.pipeline.hop_control`)."""
CLIPPED_SHARE = 1e-3
"""Share of samples at full scale from which on a microphone is set too loud."""
LEAST_DISK = 200e6
"""Bytes free below which a journal of weeks may not fit."""
UNSYNCHRONISED = 5
"""What adjtimex(2) returns for a clock that nobody has set (TIME_ERROR)."""


@dataclass(frozen=True)
class CheckResult:
    """One thing that was looked at."""

    check: str
    state: State
    """"fault" keeps edgecap from listening well; "note" is worth knowing."""
    found: str
    type: str
    """What to type next."""


def examine(config: ListenConfig) -> Iterator[CheckResult]:
    """All findings for listening with this configuration, in the order in which to mend them."""
    yield from _portaudio()
    yield from _devices()
    yield from _holders()
    yield from _levels(config)
    yield from _model(config)
    yield from _heat()
    yield from _disk(config)
    yield from _clock()


def _portaudio() -> Iterator[CheckResult]:
    try:
        yield CheckResult("portaudio", "ok", portaudio_version(), "edgecap devices")
    except EdgecapError as error:
        yield _from(error, "portaudio", "sudo apt install libportaudio2")


def _devices() -> Iterator[CheckResult]:
    try:
        found = list_devices()
    except EdgecapError as error:
        yield _from(error, "devices", "edgecap devices")
        return
    if forbidden():
        yield CheckResult(
            "devices", "fault", f"you may not use {', '.join(map(str, forbidden()))}", JOIN_GROUP.partition("type: ")[2]
        )
    elif not found:
        yield CheckResult("devices", "fault", "there is no microphone; plug one in", "arecord -l")
    else:
        names = ", ".join(f"{device.index} {device.name}{' (default)' if device.default else ''}" for device in found)
        yield CheckResult("devices", "ok", names, "edgecap devices")


def _holders() -> Iterator[CheckResult]:
    held = holders()
    for holder in held:
        yield CheckResult(
            "holders", "note", f"{holder.name} (process {holder.process}) holds {holder.node}", f"kill {holder.process}"
        )
    if not held:
        yield CheckResult(
            "holders", "ok", "no program that you may look into holds a sound device", "sudo edgecap doctor"
        )


def _levels(config: ListenConfig) -> Iterator[CheckResult]:
    for microphone in microphones(config):
        query = None if microphone is None else microphone.device
        try:
            device = find_device(query)
            with Microphone(device, LISTEN_SECONDS + 1.0) as opened:
                time.sleep(LISTEN_SECONDS)
                block, _ = opened.ring.read()
                rate = round(opened.sample_rate)
        except EdgecapError as error:
            yield _from(error, "level", "edgecap devices")
            continue
        yield level(device.name, np.asarray(block), rate)


def level(name: str, block: np.ndarray, rate: int) -> CheckResult:
    """What a second and a half of a microphone, shape (n, channels), says about it."""
    if not len(block):
        return CheckResult("level", "fault", f"{name} opens and gives no sound", "edgecap devices")
    if float(np.ptp(block)) == 0.0:
        return CheckResult(
            "level",
            "fault",
            f"{name} gives one constant value: muted, or its cable is out",
            "pactl set-source-mute @DEFAULT_SOURCE@ 0 || alsamixer -V capture",
        )
    loudest = loudest_level(to_mono(block), rate)
    clipped = float(np.mean(np.abs(block) >= 0.999))
    if clipped > CLIPPED_SHARE:
        return CheckResult(
            "level",
            "note",
            f"{name} is at full scale {100 * clipped:.1f} % of the time: set it lower",
            "alsamixer -V capture",
        )
    return CheckResult(
        "level", "ok", f"{name} at {rate} Hz, loudest 100 ms {loudest:.1f} dBFS", "edgecap listen --hearing"
    )


def _model(config: ListenConfig, clock: Callable[[], float] = time.perf_counter) -> Iterator[CheckResult]:
    try:
        captioner = Captioner.load(config.model.name, threads=config.model.threads)  # compares every hash
        rehearse(captioner, config.model.beam)
    except EdgecapError as error:
        yield _from(error, "model", "edgecap models")
        return
    manifest = captioner.manifest
    yield CheckResult(
        "model",
        "ok",
        f"{manifest.name} ({manifest.runtime} {manifest.precision}), all SHA-256 as listed",
        "edgecap models",
    )
    rate, seconds = manifest.front_end.sample_rate, []
    samples = (np.random.default_rng(0).standard_normal(round(captioner.window * rate)) * 0.1).astype(np.float32)
    for _ in range(CAPTIONS + 1):
        began = clock()
        captioner.caption(samples, rate, beam=config.model.beam)
        seconds.append(clock() - began)
    yield speed(median(seconds[1:]), config.stream.hop, len(microphones(config)))


def speed(seconds: float, hop: float, streams: int = 1) -> CheckResult:
    """Whether captions of so many seconds fit into a hop."""
    share = seconds * streams / hop
    said = f"a caption takes {1000 * seconds:.0f} ms, {100 * share:.1f} % of a hop of {hop:g} s"
    said += f" with {streams} microphones" if streams > 1 else ""
    if share > SHARE_LIMIT:
        return CheckResult(
            "speed", "fault", f"{said}: too slow", f"edgecap listen --hop {ceil(seconds * streams / 0.5)}"
        )
    return CheckResult("speed", "ok", said, "edgecap bench")


def _heat() -> Iterator[CheckResult]:
    yield from heat(look(), vcgencmd())


def heat(now: Heat, word: int | None) -> Iterator[CheckResult]:
    """Temperature and throttling; `word` is what the firmware of a Raspberry Pi says, None on other machines."""
    throttled = now.throttled or bool((word or 0) & THROTTLED_NOW)
    warm = "" if now.celsius is None else f"{now.celsius:.0f} °C"
    if now.undervoltage or (word or 0) & 1:
        yield CheckResult(
            "power",
            "fault",
            "the voltage is too low; use the board's own power supply and a short cable",
            "vcgencmd get_throttled",
        )
    if throttled or (now.celsius is not None and now.celsius >= HOT_CELSIUS):
        yield CheckResult(
            "heat",
            "fault",
            f"{warm or 'the board'} is too hot, so it slows itself down; give it air, or longer hops",
            "edgecap listen --hop 4",
        )
    elif (word or 0) >> 16:
        yield CheckResult(
            "heat",
            "note",
            f"{warm} now, but since the start it was throttled or its voltage was too low",
            "vcgencmd get_throttled",
        )
    else:
        yield CheckResult(
            "heat",
            "ok",
            warm or "this machine does not tell its temperature",
            "vcgencmd measure_temp" if word is not None else "cat /sys/class/thermal/thermal_zone*/temp",
        )


def _disk(config: ListenConfig) -> Iterator[CheckResult]:
    output = config.output
    places = [Path(file).parent for file in (output.journal, output.csv, output.srt, output.vtt) if file]
    places += [Path(output.keep_audio)] if output.keep_audio else []  # a folder, which may be a disk of its own
    for folder in sorted({_existing(place.expanduser().absolute()) for place in places or [home()]}):
        free = shutil.disk_usage(folder).free
        state: State = "ok" if free >= LEAST_DISK else "fault"
        yield CheckResult("disk", state, f"{free / 1e6:.0f} MB free at {folder}", f"df -h {folder}")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _clock() -> Iterator[CheckResult]:
    yield clock_finding(synchronised())


def clock_finding(known: bool | None) -> CheckResult:
    """Whether the clock is right, as far as the system knows."""
    now = time.strftime("%Y-%m-%d %H:%M:%S %z")
    if known is None:
        return CheckResult("clock", "note", f"{now}; this system does not tell whether it is right", "date")
    if not known:
        return CheckResult(
            "clock",
            "note",
            f"{now}, which was not compared with the network's time: events may be dated wrongly",
            "sudo timedatectl set-ntp true",
        )
    return CheckResult("clock", "ok", f"{now}, kept by the network's time", "timedatectl")


def synchronised() -> bool | None:
    """Whether the kernel's clock is disciplined by NTP (adjtimex(2)); None where that cannot be asked."""
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None
    nothing = ctypes.create_string_buffer(512)  # zeros change nothing; the kernel's structure has at most 208 bytes
    state = int(adjtimex(nothing))
    return None if state < 0 else state != UNSYNCHRONISED


def _from(error: EdgecapError, check: str, otherwise: str) -> CheckResult:
    """An error as a finding: its own advice on what to type, where it has one."""
    what, _, advice = str(error).partition("type: ")
    return CheckResult(check, "fault", what.rstrip("; ") if advice else str(error), advice or otherwise)
