"""Microphones: how one is chosen and opened, and what holds its newest sound; `captured` opens it.

A microphone is opened at its native rate, since many refuse any other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from mmap import mmap

import numpy as np

from edgecap.audio.sound_cards import GROUP, card_of, forbidden, holders, plain_name
from edgecap.errors import DeviceError
from edgecap.types import Waveform

FALLBACK_RATES = (48_000, 44_100, 32_000, 16_000)
"""Rates tried, in hertz, where a microphone refuses its native one."""
NEAR = 0.5
"""Similarity (difflib) from which a device's name is suggested for an unknown one."""
BLOCK_SECONDS = 0.1
"""Length of a block of PortAudio: its default, 8 ms, costs twenty times the processor time."""
BUFFER_SECONDS = 0.4
"""Requested buffer: how long a busy machine may delay a block before sound is lost."""
USUAL_CHANNELS = 2
"""Channels tried first: sound servers offer 32, which they make from one."""

JOIN_GROUP = f"type: sudo usermod -aG {GROUP} $USER, then log out and in again"


@dataclass(frozen=True)
class InputDevice:
    """A capture device as PortAudio lists it."""

    index: int
    name: str
    channels: int
    """Most channels it can be opened with."""
    sample_rate: float
    """Native rate, in hertz."""
    host: str
    """The sound system it belongs to ("ALSA", "JACK Audio Connection Kit")."""
    default: bool
    """Whether it is the system's default."""


class Ring:
    """A bounded buffer between what captures and a slower reader. When full, the newest sound wins."""

    def __init__(self, frames: int, channels: int) -> None:
        # straight from the system, which gets it back: the allocator's places for it would add up, one for each return
        memory = mmap(-1, max(1, 4 * frames * channels))
        self._data = np.frombuffer(memory, np.float32, frames * channels).reshape(frames, channels)
        self._written = self._read = self._dropped = 0
        self._lock = threading.Lock()

    @property
    def dropped(self) -> int:
        """Frames that were overwritten before they were read."""
        return self._dropped

    def write(self, block: Waveform) -> None:
        """Append a block of shape (n, channels)."""
        frames = len(self._data)
        with self._lock:
            self._written += len(block)
            block = block[-frames:]
            start = (self._written - len(block)) % frames
            first = min(len(block), frames - start)
            self._data[start : start + first] = block[:first]
            self._data[: len(block) - first] = block[first:]

    def read(self) -> tuple[Waveform, int]:
        """Everything written and not read yet, and the number of frames lost just before it."""
        frames = len(self._data)
        with self._lock:
            lost = max(0, self._written - self._read - frames)
            start, size = (self._read + lost) % frames, self._written - self._read - lost
            self._read, self._dropped = self._written, self._dropped + lost
            return np.concatenate((self._data[start : start + size], self._data[: max(0, start + size - frames)])), lost


def find_device(query: str | None, devices: Sequence[InputDevice]) -> InputDevice:
    """One of `devices` by number, by name, or by a part of its name in any case; the default one for None.

    Raises DeviceError where none or several match.
    """
    if not devices:
        if forbidden():
            raise DeviceError(f"there is a microphone, but you are not permitted to use it; {JOIN_GROUP}")
        raise DeviceError("no microphone is connected; plug one in; type: edgecap devices")
    if query is None:
        return next((device for device in devices if device.default), devices[0])
    for fits in (
        [device for device in devices if str(device.index) == query],
        [device for device in devices if device.name == query],
        [device for device in devices if plain_name(device.name) == plain_name(query)],
        [device for device in devices if query.casefold() in device.name.casefold()],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            names = ", ".join(f"{device.index} {device.name!r}" for device in fits)
            raise DeviceError(f"{query!r} matches more than one microphone ({names}); give the number")
    known = {device.name.casefold(): device.name for device in devices}
    near = [known[name] for name in get_close_matches(query.casefold(), known, n=3, cutoff=NEAR)]
    hint = f"; similar: {', '.join(map(repr, near))}" if near else ""
    raise DeviceError(f"no microphone is called {query!r}{hint}; type: edgecap devices")


def settings_of(device: InputDevice) -> Iterator[tuple[float, int, dict[str, float]]]:
    """Rates, channel counts and buffers to try, the likeliest first."""
    rates = dict.fromkeys([device.sample_rate, *map(float, FALLBACK_RATES)])
    channels = dict.fromkeys([min(USUAL_CHANNELS, device.channels), 1, device.channels])
    for rate in rates:
        large = {"blocksize": round(BLOCK_SECONDS * rate), "latency": BUFFER_SECONDS}
        yield from ((rate, count, buffers) for count in channels for buffers in (large, {}))


def why_refused(device: InputDevice) -> str:
    """Why a listed microphone does not open, and what to type."""
    card = card_of(device.name)
    for holder in holders():
        if holder.node.startswith(f"/dev/snd/pcmC{card}D"):
            return f"{holder.name} (process {holder.process}) holds it; close it, or choose another: edgecap devices"
    if any(node.name.startswith(f"pcmC{card}D") for node in forbidden()):
        return f"you are not permitted to use it; {JOIN_GROUP}"
    return "close other programs that may hold it, or choose another: edgecap devices"
