"""The sound that a program writes, through its ends and new starts: cameras, sources of a sound server."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from edgecap.audio.samples import as_float
from edgecap.errors import DeviceError, reason_of
from edgecap.live.sources.sound_programs import REFUSED, SoundProgram
from edgecap.live.sources.source import NOTHING, Chunk, Intake
from edgecap.types import Notify, Waveform
from edgecap.util.text import clean

START_SECONDS = 12.0
"""From a program's start to its first sound: a connection in several steps of 5 s at most."""
STEADY_SECONDS = 10.0
"""Sound of this length shows that a program works: the next failure is a new one."""
PATIENCE = 10
"""How many of the longest waits between two tries where a camera refuses the password."""
END_SECONDS = 1.0
"""For a program to say goodbye to its server; then it is killed."""
MOST_BYTES, MOST_SAID, MOST_LAST = 1 << 20, 4096, 1 << 16
"""Read at once of its sound, kept of what it says, and read of that at its end."""


class ProgramSource:
    """The sound of a `SoundProgram`. When it ends or falls silent it is started again, less and less often."""

    lossless = False
    live = True
    speed = 1.0
    ended = False
    overflows = 0

    def __init__(
        self,
        program: SoundProgram,
        rate: int,
        notify: Notify,
        *,
        wait: bool = False,
        label: str | None = None,
        lost_after: float = 3.0,
        retry: float = 1.0,
        longest_retry: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Start it, and unless `wait` stay until sound comes. Raises DeviceError where none does.

        It writes `rate` samples a second. `lost_after` is seconds without sound after which it is ended; it is started
        again after `retry` seconds, and twice as many each time, up to `longest_retry`.
        """
        self.label, self.fault = label, ""
        self._program, self._rate, self._notify = program, rate, notify
        self._lost_after, self._retry, self._longest = lost_after, retry, longest_retry
        self._clock, self._sleep = clock, sleep
        self._child: subprocess.Popen[bytes] | None = None
        self._intake, self._interval = Intake(rate, rate), retry
        self._first: Waveform = NOTHING
        self._said, self._rest, self._heard, self._fresh = b"", b"", 0, False
        self._retry_at = self._last = clock()
        self._quiet = not wait
        """While a failure is raised instead of reported."""
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """Its label, or the program's."""
        return clean(self.label or self._program.name)

    def read(self, timeout: float) -> Chunk:
        """New sound; where the program has ended, start it again when it is time to."""
        if self._first.size:
            first, self._first = self._first, NOTHING
            return Chunk(first, fresh=True)
        if self._child is None and not self._start():
            self._sleep(timeout)
            return Chunk(NOTHING)
        asked = self._clock()
        data = self._take(timeout)
        now = self._clock()
        if (stopped := now - asked - timeout) > 1.0:
            self._last += stopped  # this process was stopped, not the sound
        moved = bool(self._program.moved) and self._program.moved.encode() in self._said
        if not data or moved:
            if data is not None or moved or now - self._last > (self._lost_after if self._heard else START_SECONDS):
                self._lose()
            return Chunk(NOTHING)
        self._last = now
        data = self._rest + data
        even = len(data) & ~1
        self._rest = data[even:]
        if not even:
            return Chunk(NOTHING)
        self._came(even // 2)
        fresh, self._fresh = self._fresh, False
        return Chunk(self._intake.push(as_float(np.frombuffer(data[:even], "<i2").reshape(-1, 1))), fresh=fresh)

    def wait_for_reader(self) -> bool:
        """It cannot: a server goes on."""
        return False

    def close(self) -> None:
        """End the program."""
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(END_SECONDS)
        child.kill()
        child.wait()
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()

    def _begin(self) -> None:
        """Start the program and stay until sound comes, unless that is to be waited for. Raises DeviceError."""
        self._start()
        while self._quiet and not self._first.size:
            self._first = self.read(0.2).samples
            if self.fault:
                raise DeviceError(f"{self.name} cannot be heard: {self._program.hint() or self.fault}")
        self._quiet = False

    def _start(self) -> bool:
        """Start the program where it is time to; whether it runs."""
        if self._clock() < self._retry_at:
            return False
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []  # nothing is left of a killed one
        document = os.memfd_create("edgecap")
        try:
            os.write(document, self._program.document)
            os.lseek(document, 0, os.SEEK_SET)
            self._child = subprocess.Popen(
                [*guard, *self._program.command],
                stdin=document,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C"},  # `meaning` reads what it says
            )
        except OSError as error:
            self._lose(f"{self._program.command[0]} cannot be started: {reason_of(error)}")
            return False
        finally:
            os.close(document)
        self._said, self._rest, self._heard, self._fresh = b"", b"", 0, True
        self._intake, self._last = Intake(self._rate, self._rate), self._clock()
        return True

    def _take(self, timeout: float) -> bytes | None:
        """Sound that came; None where none did in time, empty at the program's end."""
        assert self._child is not None
        sound, words = self._child.stdout, self._child.stderr
        assert sound is not None
        assert words is not None
        ready = select.select([sound] if words.closed else [sound, words], [], [], timeout)[0]
        if words in ready:
            said = os.read(words.fileno(), 1 << 16)
            self._said = (self._said + said)[-MOST_SAID:]
            if not said:
                words.close()
        return os.read(sound.fileno(), MOST_BYTES) if sound in ready else None

    def _came(self, count: int) -> None:
        """Count samples; sound after a fault is reported, and that it lasts is remembered."""
        self._heard += count
        if self._heard >= STEADY_SECONDS * self._rate:
            self._interval = self._retry
        if self.fault:
            self.fault = ""
            self._notify("note", f"{self.name} is there")

    def _lose(self, why: str = "") -> None:
        """End the program and start it again later; reported once for each reason, until sound comes again."""
        if self._child is not None and self._child.stderr is not None and not self._child.stderr.closed:
            self._child.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(END_SECONDS)
            os.set_blocking(self._child.stderr.fileno(), False)
            self._said = (self._said + (self._child.stderr.read(MOST_LAST) or b""))[-MOST_SAID:]
        self.close()
        why = why or self._program.meaning(self._said.decode(errors="replace"))
        why = why or ("its sound ended" if self._heard else "it gives no sound")
        wait = PATIENCE * self._longest if REFUSED in why else self._interval
        self._retry_at, self._interval = self._clock() + wait, min(self._longest, 2.0 * self._interval)
        before, self.fault = self.fault, why
        if why != before and not self._quiet:
            self._notify("warning", f"{self.name} cannot be heard: {why}; trying again")
