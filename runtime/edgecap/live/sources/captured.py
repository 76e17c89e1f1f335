"""A microphone that a process of its own captures.

PortAudio 19.6 waits for ever where ALSA refuses to start a stream that it has opened, as it may while a device comes
back (PortAudio's issue 535), and holds the device meanwhile. A process can be ended, and lets go of it; and as each one
lists the devices anew, no other microphone is disturbed while one is searched for.
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
from typing import IO, Any

import numpy as np

from edgecap.audio import capture
from edgecap.audio.microphone import InputDevice, Ring, settings_of, why_refused
from edgecap.errors import DeviceError, EdgecapError, MissingDependencyError, StuckDeviceError
from edgecap.util.limits import MOST_BLOCK
from edgecap.util.text import clean

START_SECONDS = 4.0
"""For one step: to list the devices, or to open one. PortAudio gives up a stream that does not start after a second."""
PIPE_BYTES = 1 << 20
"""What waits while this process is stopped: nearly three seconds of two channels."""
Choose = Callable[[Sequence[InputDevice]], InputDevice]


class CapturedMicrophone:
    """A microphone that is being opened, is open, or has ended."""

    device: InputDevice
    sample_rate: float
    ring: Ring

    def __init__(self, choose: Choose, ring_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to open the device that `choose` takes from those that there are. Raises OSError.

        `choose` is called in another thread, and may raise DeviceError. The ring holds `ring_seconds` at most.
        """
        self.overflows = 0
        """How often sound was lost before it came here."""
        self._choose, self._ring_seconds, self._clock = choose, ring_seconds, clock
        self._failure: EdgecapError | None = None
        self._settled, self._ended = threading.Event(), False
        self._process = subprocess.Popen(
            [sys.executable, "-P", capture.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # ALSA's and PortAudio's remarks
        )
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

    def opened(self) -> CapturedMicrophone:
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
        self._process.kill()
        self._process.wait()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

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
        if "devices" in words:
            self.device = self._choose(_devices(words))
            self._settings = list(settings_of(self.device))
            tried = [{"samplerate": rate, "channels": count, **more} for rate, count, more in self._settings]
            assert self._process.stdin is not None
            self._due = self._clock() + START_SECONDS
            self._process.stdin.write(json.dumps({"index": self.device.index, "settings": tried}).encode() + b"\n")
            self._process.stdin.flush()
        elif "opened" in words:
            self.sample_rate, self._channels, _ = self._settings[words["opened"]]
            self.ring = Ring(round(self._ring_seconds * self.sample_rate), self._channels)
            self._settled.set()
        elif "refused" in words:
            why = f"{clean(words['refused'])}; {why_refused(self.device)}"
            raise DeviceError(f"the microphone {self.device.name!r} cannot be opened ({why})")
        elif "missing" in words:
            raise MissingDependencyError(
                "using a microphone needs PortAudio, which was not found; type: sudo apt install libportaudio2"
            )
        else:
            raise DeviceError(f"the sound system does not answer ({clean(words['silent'])}); check that it runs")


def _block(pipe: IO[bytes]) -> tuple[int, bytes] | None:
    """The next block; None at the end, within a block too."""
    head = pipe.read(capture.HEAD.size)
    if len(head) < capture.HEAD.size:
        return None
    kind, size = capture.HEAD.unpack(head)
    content = pipe.read(size) if size <= MOST_BLOCK else b""
    return (kind, content) if len(content) == size else None


def _devices(words: dict[str, Any]) -> list[InputDevice]:
    return [
        InputDevice(index, clean(name), channels, rate, clean(words["hosts"][host]), index == words["default"])
        for index, name, channels, rate, host in words["devices"]
        if channels > 0
    ]
