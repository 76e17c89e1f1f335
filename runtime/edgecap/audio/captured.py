"""What a process of its own knows of the microphones: which there are, and the sound of one.

edgecap itself never loads PortAudio. PortAudio 19.6 waits for ever where ALSA refuses to start a stream that it has
opened, as it may while a device comes back (PortAudio's issue 535), and holds the device meanwhile. A process can be
ended, and lets go of it; and as each one lists the devices anew, no other microphone is disturbed while one is searched
for.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Self

import numpy as np

from edgecap.audio import capture
from edgecap.audio.microphone import InputDevice, Ring, settings_of, why_refused
from edgecap.errors import DeviceError, EdgecapError, MissingDependencyError, StuckDeviceError, reason_of
from edgecap.util.limits import MOST_BLOCK
from edgecap.util.text import clean

START_SECONDS = 4.0
"""For one step: to list the devices, or to open one. PortAudio gives up a stream that does not start after a second."""
END_SECONDS = 1.0
"""For the process to end once it is killed. One that hangs in the kernel's driver does not, and is left to itself."""
PIPE_BYTES = 1 << 20
"""What waits while this process is stopped: nearly three seconds of two channels."""
Choose = Callable[[Sequence[InputDevice]], InputDevice]


@dataclass(frozen=True)
class SoundSystem:
    """What PortAudio says of itself and of the devices."""

    version: str
    devices: list[InputDevice]
    """Those that capture."""


def sound_system() -> SoundSystem:
    """Ask PortAudio in a process for it.

    Raises MissingDependencyError without PortAudio, DeviceError where it does not answer, StuckDeviceError where it
    hangs.
    """
    process = _started()
    try:
        output, _ = process.communicate(b"", START_SECONDS)
    except subprocess.TimeoutExpired as error:
        message = "the sound system hangs while it lists the devices; restart it or this machine"
        raise StuckDeviceError(message) from error
    finally:
        _end(process)
        _close_pipes(process)
    kind, size = capture.HEAD.unpack_from(output) if len(output) >= capture.HEAD.size else (None, 0)
    if kind != capture.WORDS:
        raise DeviceError("the sound system does not answer (its process ended); check that it runs")
    return _answered(json.loads(output[capture.HEAD.size :][:size]))


class CapturedMicrophone:
    """A microphone that is being opened, is open, or has ended. As a context manager it is closed at the end."""

    device: InputDevice
    sample_rate: float
    ring: Ring

    def __init__(self, choose: Choose, ring_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to open the device that `choose` takes from those that there are. Raises DeviceError without a process.

        `choose` is called in another thread, and may raise DeviceError. The ring holds `ring_seconds` at most.
        """
        self.overflows = 0
        """How often sound was lost before it came here."""
        self._choose, self._ring_seconds, self._clock = choose, ring_seconds, clock
        self._failure: EdgecapError | None = None
        self._settings = list[tuple[float, int, dict[str, float]]]()
        self._settled, self._ended = threading.Event(), False
        self._process = _started()
        assert self._process.stdout is not None
        with suppress(OSError):
            fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._due = clock() + START_SECONDS
        self._thread = threading.Thread(target=self._read, name="edgecap microphone", daemon=True)
        self._thread.start()

    def settled(self, seconds: float = 0.0) -> bool:
        """Whether it is open or has failed, after at most `seconds`; one that hangs is ended, and has failed."""
        if not self._settled.wait(seconds) and self._clock() > self._due:
            self._fail(StuckDeviceError(f"the sound system hangs while {self._named()} is opened; check its plug"))
            self.close()
        return self._settled.is_set()

    def opened(self) -> Self:
        """This, once it is open; waits for that. Raises DeviceError, StuckDeviceError, MissingDependencyError."""
        while not self.settled(0.1):
            pass
        if self._failure is not None:
            self.close()
            raise self._failure
        return self

    @property
    def active(self) -> bool:
        """Whether it still gives sound."""
        return not self._ended

    def close(self) -> None:
        """End the process."""
        self._ended = True
        _end(self._process)
        if threading.current_thread() is not self._thread:
            self._thread.join(END_SECONDS)
        if self._thread.is_alive():
            return  # it reads from what cannot be ended
        _close_pipes(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _named(self) -> str:
        return f"the microphone {self.device.name!r}" if hasattr(self, "device") else "a microphone"

    def _fail(self, error: EdgecapError) -> None:
        self._failure = self._failure or error
        self._settled.set()

    def _read(self) -> None:
        """Take what the program writes, until it ends."""
        assert self._process.stdout is not None
        pipe = self._process.stdout
        try:
            while (block := _block(pipe)) is not None:
                kind, content = block
                if kind == capture.WORDS:
                    self._answer(json.loads(content))
                else:
                    self.overflows += kind == capture.SOUND_AFTER_LOSS
                    self.ring.write(np.frombuffer(content, np.float32).reshape(-1, self._channels))
        except EdgecapError as error:
            self._fail(error)
        finally:
            self._ended = True
            self._fail(DeviceError("the microphone cannot be opened (its process ended); type: edgecap doctor"))

    def _answer(self, words: dict[str, Any]) -> None:
        """Go on after what the program says. Raises DeviceError, MissingDependencyError."""
        if "opened" in words:
            self.sample_rate, self._channels, _ = self._settings[words["opened"]]
            self.ring = Ring(round(self._ring_seconds * self.sample_rate), self._channels)
            self._settled.set()
        elif "refused" in words:
            why = f"{clean(words['refused'])}; {why_refused(self.device)}"
            raise DeviceError(f"the microphone {self.device.name!r} cannot be opened ({why})")
        else:
            self.device = self._choose(_answered(words).devices)
            self._settings = list(settings_of(self.device))
            tried = [{"samplerate": rate, "channels": count, **more} for rate, count, more in self._settings]
            assert self._process.stdin is not None
            self._due = self._clock() + START_SECONDS
            self._process.stdin.write(json.dumps({"index": self.device.index, "settings": tried}).encode() + b"\n")
            self._process.stdin.flush()


def _started() -> subprocess.Popen[bytes]:
    """The program. Raises DeviceError where there is no memory or no process left."""
    try:
        return subprocess.Popen(
            [sys.executable, "-P", capture.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # ALSA's and PortAudio's remarks
        )
    except OSError as error:
        why = reason_of(error)
        raise DeviceError(f"a microphone takes a process of its own, which cannot be started: {why}") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _block(pipe: IO[bytes]) -> tuple[int, bytes] | None:
    """The next block; None at the end, within a block too."""
    head = pipe.read(capture.HEAD.size)
    if len(head) < capture.HEAD.size:
        return None
    kind, size = capture.HEAD.unpack(head)
    content = pipe.read(size) if size <= MOST_BLOCK else b""
    return (kind, content) if len(content) == size else None


def _answered(words: dict[str, Any]) -> SoundSystem:
    """What there is, from the program's first words. Raises DeviceError, MissingDependencyError."""
    if "missing" in words:
        raise MissingDependencyError(
            "using a microphone needs PortAudio, which was not found; type: sudo apt install libportaudio2"
        )
    if "silent" in words:
        raise DeviceError(f"the sound system does not answer ({clean(words['silent'])}); check that it runs")
    devices = [
        InputDevice(index, clean(name), channels, rate, clean(words["hosts"][host]), index == words["default"])
        for index, name, channels, rate, host in words["devices"]
        if channels > 0
    ]
    return SoundSystem(clean(words["version"]), devices)
