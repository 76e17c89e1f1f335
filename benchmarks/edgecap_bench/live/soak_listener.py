"""The listener under test: a process that gets sound, is observed from outside, and is ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from edgecap.errors import MeasurementError
from edgecap_bench.harness.load import processor_seconds
from edgecap_bench.live.command import listen_command
from edgecap_bench.live.soak_result import Sample
from edgecap_bench.live.soak_sound import SoakSound

BLOCK_SECONDS = 0.5
"""Sound written at once."""
END_SECONDS = 60.0
WATCHDOG_SECONDS = 30.0


def sample_of(pid: int, sound_seconds: float) -> Sample:
    """What /proc reports of a process now, which was given so much sound."""
    folder = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return Sample(
        sound_seconds=sound_seconds,
        seconds=time.monotonic(),
        resident_bytes=int(status["VmRSS"].split()[0]) * 1024,
        handles=len(list((folder / "fd").iterdir())),
        threads=int(status["Threads"]),
        processor_seconds=processor_seconds(pid),
    )


class SoakListener:
    """`edgecap listen --stdin` with outputs, and what it prints."""

    def __init__(self, folder: Path, *, rate: int, speed: float, model: str | None) -> None:
        """Start it; its outputs go to `folder`."""
        self.model = ""
        self.events = 0
        self.beats, self.longest_beat = 0, 0.0
        self.exit_code: int | None = None
        self.summary = ""
        self._events: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._speed = speed
        self._watch = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._watch.bind(str(folder / "notify"))
        arguments = ["--stdin", "--rate", str(rate), "--speed", str(speed), "--metrics", "0"]
        for option, name in (("--journal", "events.db"), ("--csv", "events.csv"), ("--srt", "events.srt")):
            arguments += [option, str(folder / name)]
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(folder / "notify"),
            "WATCHDOG_USEC": str(round(WATCHDOG_SECONDS * 1e6)),
        }
        self._process = subprocess.Popen(
            listen_command(*arguments, model=model),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._threads = [
            threading.Thread(target=work, daemon=True)
            for work in (self._read_events, self._read_messages, self._read_beats)
        ]
        for thread in self._threads:
            thread.start()

    def feed(self, sound: SoakSound, *, seconds: float, every: float, at_most: float | None) -> Iterator[float]:
        """Write `seconds` of sound at its pace; the seconds written, after each `every` seconds of time.

        Raises MeasurementError where the listener ends early.
        """
        assert self._process.stdin is not None
        began = time.monotonic()
        due = every
        while sound.position < seconds and (at_most is None or time.monotonic() - began < at_most):
            early = sound.position / self._speed - (time.monotonic() - began)
            if early > 0:
                time.sleep(early)
            try:
                self._process.stdin.write(sound.block(BLOCK_SECONDS))
                self._process.stdin.flush()
            except BrokenPipeError:
                self.finish()
                raise MeasurementError(f"the listener ended early with code {self.exit_code}: {self.summary}") from None
            if time.monotonic() - began >= due:
                due += every
                yield sound.position
        yield sound.position

    def sample(self, sound_seconds: float) -> Sample:
        """What /proc reports of the process now."""
        return sample_of(self._process.pid, sound_seconds)

    def take_events(self) -> list[dict[str, Any]]:
        """Beginnings of events since the last call."""
        with self._lock:
            events, self._events = self._events, []
            return events

    def finish(self) -> None:
        """Close its input and wait for its end."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self.exit_code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.exit_code = self._process.wait()
        for thread in self._threads[:2]:
            thread.join(END_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe and kind is None:
                pipe.close()
        self._watch.shutdown(socket.SHUT_RDWR)
        self._threads[2].join(END_SECONDS)
        self._watch.close()

    def _read_events(self) -> None:
        for line in self._lines(self._process.stdout):
            event = json.loads(line)
            if event["kind"] == "begin":
                with self._lock:
                    self.events += 1
                    self.model = event["model"]
                    self._events.append(event)

    def _read_messages(self) -> None:
        for line in self._lines(self._process.stderr):
            self.summary = line.strip()

    @staticmethod
    def _lines(stream: IO[bytes] | None) -> Iterator[str]:
        assert stream is not None
        for line in stream:
            yield line.decode("utf-8", errors="replace")

    def _read_beats(self) -> None:
        """Receive what would go to systemd; keep the longest time between two notifications of the watchdog."""
        last: float | None = None
        while message := self._watch.recv(4096):
            if b"WATCHDOG=1" in message:
                now = time.monotonic()
                self.longest_beat = max(self.longest_beat, 0.0 if last is None else now - last)
                self.beats, last = self.beats + 1, now
