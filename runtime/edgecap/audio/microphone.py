"""Microphones: the list of them, and one that is open for a moment; a listener's are captured elsewhere (`capture`).

PortAudio is loaded on first use, so that a machine without it can still caption files. A microphone is opened at its
native rate, since many refuse any other; the callback only copies into a ring buffer that keeps the newest sound.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Self

import numpy as np

from edgecap.audio.sound_cards import GROUP, card_of, forbidden, holders, plain_name
from edgecap.errors import DeviceError, MissingDependencyError, StuckDeviceError, reason_of
from edgecap.types import Waveform
from edgecap.util.text import clean

FALLBACK_RATES = (48_000, 44_100, 32_000, 16_000)
"""Rates tried, in hertz, where a microphone refuses its native one."""
NEAR = 0.5
"""Similarity (difflib) from which a device's name is suggested for an unknown one."""
BLOCK_SECONDS = 0.1
"""Length of a callback's block: PortAudio's default, 8 ms, costs twenty times the processor time."""
BUFFER_SECONDS = 0.4
"""Requested buffer: how long a busy machine may delay the callback before sound is lost."""
START_SECONDS = 10.0
"""PortAudio gives up a stream that does not start after one second; where it does not, it never comes back."""
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
    """A bounded buffer between the audio callback and a slower reader. When full, the newest sound wins."""

    def __init__(self, frames: int, channels: int) -> None:
        self._data = np.zeros((frames, channels), np.float32)
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


class Microphone:
    """An open microphone. Use it as a context manager."""

    def __init__(self, device: InputDevice, ring_seconds: float) -> None:
        """Open a device, at its native rate if possible.

        Raises DeviceError where no rate and channel count works, StuckDeviceError where PortAudio hangs.
        """
        self.device = device
        self.overflows = 0
        """How often PortAudio lost sound before the callback."""
        refusals = []
        for settings in settings_of(device):
            rate, channels, _ = settings
            self.sample_rate, self.ring = rate, Ring(round(ring_seconds * rate), channels)
            try:
                self._start(settings)
            except (_portaudio().PortAudioError, ValueError) as error:
                refusals.append(reason_of(error))
                continue
            return
        raise DeviceError(f"the microphone {device.name!r} cannot be opened ({refusals[0]}); {why_refused(device)}")

    @property
    def active(self) -> bool:
        """Whether it still delivers sound; an unplugged microphone ends without an error."""
        try:
            return bool(self._stream.active)
        except _portaudio().PortAudioError:
            return False

    def close(self) -> None:
        """Stop listening."""
        self._stream.close(ignore_errors=True)

    def _start(self, settings: tuple[float, int, dict[str, float]]) -> None:
        """Open a stream with a rate, channels and buffers. Raises PortAudioError, ValueError, StuckDeviceError."""
        rate, channels, buffers = settings
        stream = _portaudio().InputStream(
            device=self.device.index,
            samplerate=rate,
            channels=channels,
            dtype="float32",
            callback=self._heard,
            **buffers,
        )
        try:
            _start_in_time(stream.start, self.device.name)
        except StuckDeviceError:
            raise  # its thread is in the stream, which cannot be closed
        except BaseException:
            stream.close(ignore_errors=True)
            raise
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _heard(self, block: Waveform, _frames: int, _time: object, status: Any) -> None:  # noqa: ANN401
        """PortAudio's callback: only copies and counts."""
        if status.input_overflow:
            self.overflows += 1
        self.ring.write(block)


def _start_in_time(start: Callable[[], object], name: str) -> None:
    """Call `start` in a thread, and raise what it raises; StuckDeviceError where it does not come back.

    PortAudio 19.6 waits for ever where ALSA refuses to start a stream that was opened, as it may while a device comes
    back: its own thread ends then without a word to the one that waits (PortAudio's issue 535).
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            start()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="edgecap microphone", daemon=True)
    thread.start()
    thread.join(START_SECONDS)
    if thread.is_alive():
        raise StuckDeviceError(
            f"the sound system hangs while the microphone {name!r} is opened, so nothing can be heard any more; start "
            "edgecap again"
        )
    if failures:
        raise failures[0]


def portaudio_version() -> str:
    """PortAudio's version, as it states it. Raises MissingDependencyError without PortAudio."""
    return str(_portaudio().get_portaudio_version()[1]).partition(",")[0]


def list_devices() -> list[InputDevice]:
    """All capture devices. Raises MissingDependencyError without PortAudio, DeviceError if it does not answer."""
    portaudio = _portaudio()
    try:
        hosts = [clean(host["name"]) for host in portaudio.query_hostapis()]
        devices = list(portaudio.query_devices())
        default = portaudio.default.device[0]
    except portaudio.PortAudioError as error:
        raise DeviceError(f"the sound system does not answer ({reason_of(error)}); check that it runs") from error
    return [
        InputDevice(
            index,
            clean(device["name"]),
            device["max_input_channels"],
            device["default_samplerate"],
            hosts[device["hostapi"]],
            index == default,
        )
        for index, device in enumerate(devices)
        if device["max_input_channels"] > 0
    ]


def find_device(query: str | None = None, devices: Sequence[InputDevice] | None = None) -> InputDevice:
    """A device by number, by name, or by a part of its name in any case; the default one for None.

    Of all capture devices, unless `devices` are given. Raises DeviceError where none or several match,
    MissingDependencyError without PortAudio.
    """
    devices = list_devices() if devices is None else devices
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


def _portaudio() -> Any:  # noqa: ANN401 - sounddevice has no types
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            "using a microphone needs PortAudio, which was not found; type: sudo apt install libportaudio2"
        ) from error
    return sounddevice
