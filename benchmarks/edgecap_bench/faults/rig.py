"""A listener with all its outputs, and everything around it that can be taken away."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
import soundfile

from edgecap.audio.samples import to_int16
from edgecap.errors import MeasurementError
from edgecap.types import Waveform
from edgecap_bench.faults.disk import NotPossibleError, SmallDisk
from edgecap_bench.faults.own_clock import OwnClock
from edgecap_bench.faults.record import Record
from edgecap_bench.faults.servers import HANG_SECONDS, Webhook, free_port
from edgecap_bench.harness.bytecode import compiled, installed_environment
from edgecap_bench.harness.clips import load_clips
from edgecap_bench.live.virtual_microphone import VirtualMicrophone

RATE = 16_000
SPEED = 4.0
CLIP_SECONDS, QUIET_SECONDS, BLOCK_SECONDS = 3.0, 9.0, 0.25
"""Quiet for longer than an event stays open, so that each sound has one of its own."""
QUIET = 1e-4
NODE = "faults"
EVERY_EVENT = {"min_score": -99.0, "cooldown": 0.0, "settle": 0.0}
"""Each sound gets its event, whatever its score."""


class Rig:
    """Starts it all; `process` is the listener. Raises MeasurementError where an event does not come."""

    process: subprocess.Popen[bytes]
    broker: subprocess.Popen[bytes]
    """mosquitto, where it is installed."""
    began: float
    """When the newest listener got its first sound from a pipe, on the monotonic clock."""

    def __init__(
        self,
        folder: Path,
        disk: SmallDisk,
        *,
        microphones: int = 0,
        own_clock: bool = False,
        model: str | None = None,
        quiet: float = QUIET_SECONDS,
        close_after: float | None = None,
    ) -> None:
        """It hears a pipe, or so many microphones; `own_clock` lets `set_clock` set its clock and no other.

        `quiet` is in seconds, between two sounds, and `close_after` the listener's setting of that name.
        Raises NotPossibleError where something for that is not installed.
        """
        self.disk, self.record = disk, Record(disk.path, dated=not own_clock)
        self._clock = OwnClock(folder) if own_clock else None
        self._environment = installed_environment()
        self.webhook = Webhook()
        self.messages: list[str] = []
        """What the listener wrote to standard error."""
        self._processes, self._readers = list[subprocess.Popen[bytes]](), list[threading.Thread]()
        self._folder, self._model, self._close_after, self._aside = folder, model, close_after, list[Path]()
        clips = [clip.samples for clip in load_clips(None, RATE, round(CLIP_SECONDS * RATE))]
        pause = np.random.default_rng(1).standard_normal(round(quiet * RATE)) * QUIET
        parts = [part for clip in clips for part in (clip, pause)]
        self._sound: Waveform = np.concatenate(parts).astype(np.float32)
        self.set_program("exit 0")
        self._visitor: HTTPConnection | None = None
        self.microphones = [VirtualMicrophone(rate=RATE) for _ in range(microphones)]
        if self.microphones:
            self.microphones[0].show(**{f"room{number}": each for number, each in enumerate(self.microphones)})
            self._environment |= self.microphones[0].environment | compiled()
            soundfile.write(folder / "sound.wav", np.tile(self._sound, 60), RATE)
        self._environment |= self._clock.variables if self._clock else {}
        self.broker_port = free_port() if shutil.which("mosquitto") else 0
        self._settings = folder / "listen.toml"
        self._settings.write_text(self._configuration(), encoding="utf-8")
        if self.broker_port:
            self.start_broker()

    def start(self) -> None:
        """Start the listener, with the files that are there."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgecap", "listen", "--json", "--config", str(self._settings)],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # nothing is left to be written when it was killed
        )
        self._processes.append(self.process)
        self._follow(self.record.read, self.process.stdout, len(self._processes))
        self._follow(self._read_messages, self.process.stderr)
        if self.microphones:
            self.play()
        else:
            self._follow(self._feed, self.process.stdin)

    def _configuration(self) -> str:
        """All settings, in a file as a service has them: options would load Typer."""
        rooms = [f"room{number}" for number in range(len(self.microphones))]
        source: dict[str, object] = {"device": rooms} if rooms else {"stdin": True, "rate": RATE, "speed": SPEED}
        output = {"journal": str(self.record.journal), "csv": str(self.record.table), "metrics": "0"}
        output |= {"exec": f"sh {self._folder}/program.sh", "webhook": f"http://127.0.0.1:{self.webhook.server_port}/"}
        sections: dict[str, dict[str, object]] = {
            "source": source,
            "model": {"name": self._model} if self._model else {},
            "events": {**EVERY_EVENT, **({} if self._close_after is None else {"close_after": self._close_after})},
            "output": {**output},
            "web": {"address": "0"},
            "mqtt": {"host": "127.0.0.1", "port": self.broker_port, "node": NODE} if self.broker_port else {},
        }
        return "".join(
            f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            for name, keys in sections.items()
        )

    def start_broker(self) -> None:
        """Start mosquitto at the port that it had before. Raises NotPossibleError where it is not installed."""
        if not self.broker_port:
            raise NotPossibleError("there is no broker; type: sudo apt install mosquitto")
        command = ["mosquitto", "-p", str(self.broker_port)]
        self.broker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def play(self) -> None:
        """Play sound to the microphones."""
        for microphone in self.microphones:
            microphone.hush()
            microphone.play(self._folder / "sound.wav")

    def open_page(self) -> None:
        """Follow the page's stream of events, as a browser does, until the end. Raises MeasurementError."""
        self._visitor = HTTPConnection("127.0.0.1", self.page_port, timeout=HANG_SECONDS)
        self._visitor.request("GET", "/events")
        stream = self._visitor.getresponse()
        threading.Thread(target=_read_all, args=(stream,), daemon=True).start()

    def visit_page(self) -> bool:
        """Ask the page for past events; whether it answers."""
        with (
            suppress(OSError, HTTPException),
            closing(HTTPConnection("127.0.0.1", self.page_port, timeout=5)) as visitor,
        ):
            visitor.request("GET", "/past")
            return visitor.getresponse().status == HTTPStatus.OK
        return False

    @property
    def page_port(self) -> int:
        """Where the newest listener's page is. Raises MeasurementError where it did not say so."""
        pages = [text for text in self.messages if "the live page is at" in text]
        if not pages:
            raise MeasurementError("the listener did not say where its page is")
        return int(pages[-1].rstrip("/").rpartition(":")[2])

    def set_program(self, text: str) -> None:
        """What --exec runs from now on."""
        new = self._folder / "program.new"
        new.write_text(f"{text}\n")
        new.replace(self._folder / "program.sh")

    def set_clock(self, seconds: int) -> None:
        """Let the listener's clock be so much fast. Raises NotPossibleError where it has none of its own."""
        if self._clock is None:
            raise NotPossibleError("this listener has the clock of the machine")
        self._clock.set(seconds)

    def set_aside(self) -> None:
        """Give journal and table other names."""
        for path in (self.record.journal, self.record.table):
            aside = path.with_name(f"{path.name}.{len(self._aside)}")
            path.rename(aside)
            self._aside.append(aside)

    @property
    def handles(self) -> int:
        """Open descriptors of the listener."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def wait_for_event(self, seconds: float) -> None:
        """Wait until another event is announced. Raises MeasurementError."""
        record = self.record
        with record.changed:
            before = record.count
            record.changed.wait_for(lambda: record.count > before or self.process.poll() is not None, seconds)
            if record.count == before:
                last = self.messages[-1:] or ["no message"]
                raise MeasurementError(f"no event for {seconds:g} s (exit code {self.process.poll()}; {last[0]})")

    def _follow(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._readers.append(thread)
        thread.start()

    def _feed(self, pipe: IO[bytes]) -> None:
        """Sound and quiet in turns, at SPEED times their pace, until the listener is gone."""
        pcm = to_int16(self._sound).astype("<i2").tobytes()
        size = 2 * round(BLOCK_SECONDS * RATE)
        self.began, given = time.monotonic(), 0
        with suppress(OSError, ValueError):
            while True:
                at = given % len(pcm)
                given += pipe.write(pcm[at : at + size])
                pipe.flush()
                time.sleep(max(0.0, self.began + given / (2 * RATE * SPEED) - time.monotonic()))

    def _read_messages(self, stream: IO[bytes]) -> None:
        for line in stream:
            self.messages.append(line.decode("utf-8", "replace").strip())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for reader in self._readers:  # each ends with its pipe's other end
            reader.join(HANG_SECONDS)
        for process in self._processes:
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        if self.broker_port:
            self.broker.kill()
            self.broker.wait()
        if self._visitor is not None:
            self._visitor.close()
        for microphone in self.microphones:
            microphone.close()
        if self._clock is not None:
            self._clock.close()
        self.webhook.shutdown()
        self.webhook.server_close()


def _read_all(stream: HTTPResponse) -> None:
    with suppress(OSError, ValueError, HTTPException):
        while stream.read1(65_536):
            pass
