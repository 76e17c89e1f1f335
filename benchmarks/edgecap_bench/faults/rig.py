"""A listener with all its outputs, and everything around it that can be taken away."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
import soundfile

from edgecap.audio.samples import to_int16
from edgecap.errors import MeasurementError
from edgecap.types import Waveform
from edgecap_bench.harness.clips import load_clips
from edgecap_bench.live.command import listen_command
from edgecap_bench.live.virtual_microphone import VirtualMicrophone

RATE = 16_000
SPEED = 4.0
CLIP_SECONDS, QUIET_SECONDS, BLOCK_SECONDS = 3.0, 9.0, 0.25
"""Quiet for longer than an event stays open, so that each sound has one of its own."""
QUIET = 1e-4
DISK_BYTES = 8_000_000
HANG_SECONDS = 60.0
Beginning = tuple[str, int]
"""Of an event: its microphone, and when, in milliseconds of Unix time."""


class Webhook(ThreadingHTTPServer):
    """A server that answers, or closes, hangs or floods."""

    daemon_threads = True
    mode = "answer"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A visitor that left is no news."""


class _Answer(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        until, mode = time.monotonic() + HANG_SECONDS, self.server.mode
        self.rfile.read(int(self.headers["Content-Length"]))
        while mode == "hang" == self.server.mode and time.monotonic() < until:
            time.sleep(0.05)
        while mode == "flood" == self.server.mode and time.monotonic() < until:
            self.wfile.write(b"x" * 65_536)
        if mode == "answer":
            self.send_response(204)
            self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are counted by nobody."""


class Rig:
    """Starts it all; `process` is the listener. Raises MeasurementError where an event does not come."""

    process: subprocess.Popen[bytes]
    broker: subprocess.Popen[bytes]
    """mosquitto, where it is installed."""

    def __init__(self, folder: Path, disk: Path, *, microphones: int = 0, model: str | None = None) -> None:
        """It hears a pipe, or so many microphones."""
        self.disk, self.journal, self.table = disk, disk / "events.db", disk / "events.csv"
        self.webhook = Webhook()
        self.messages: list[str] = []
        """What the listener wrote to standard error."""
        self._processes, self._readers = list[subprocess.Popen[bytes]](), list[threading.Thread]()
        self._folder, self._model, self._aside = folder, model, list[Path]()
        self._changed = threading.Condition()
        self._announced, self._events = list[tuple[int, str, int]](), 0
        """Number of the listener, microphone and beginning of each event on standard output."""
        self._counted, self._doubled = set[Beginning](), 0
        clips = [clip.samples for clip in load_clips(None, RATE, round(CLIP_SECONDS * RATE))]
        quiet = np.random.default_rng(1).standard_normal(round(QUIET_SECONDS * RATE)) * QUIET
        parts = [part for clip in clips for part in (quiet, clip)]
        self._sound: Waveform = np.concatenate(parts).astype(np.float32)
        self._environment = dict(os.environ)
        self.set_program("exit 0")
        self._visitor: HTTPConnection | None = None
        self.microphones = [VirtualMicrophone(rate=RATE) for _ in range(microphones)]
        if self.microphones:
            self.microphones[0].show(**{f"room{number}": each for number, each in enumerate(self.microphones)})
            self._environment = self.microphones[0].environment
            soundfile.write(folder / "sound.wav", np.tile(self._sound, 60), RATE)
        self._broker_port = _free_port() if shutil.which("mosquitto") else None
        if self._broker_port is not None:
            self.start_broker()

    def start(self) -> None:
        """Start the listener, with the files that are there."""
        source = [f"--device=room{number}" for number in range(len(self.microphones))]
        source = source or ["--stdin", "--rate", str(RATE), "--speed", str(SPEED)]
        outputs = ["--journal", str(self.journal), "--csv", str(self.table), "--exec", f"sh {self._folder}/program.sh"]
        outputs += ["--webhook", f"http://127.0.0.1:{self.webhook.server_port}/"]
        outputs += ["--web", "0", "--metrics", "0"]
        outputs += ["--mqtt", f"127.0.0.1:{self._broker_port}"] if self._broker_port is not None else []
        self.process = subprocess.Popen(
            listen_command(*source, *outputs, model=self._model),
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # nothing is left to be written when it was killed
        )
        self._processes.append(self.process)
        for work, stream in ((self.read_events, self.process.stdout), (self._read_messages, self.process.stderr)):
            self._readers.append(threading.Thread(target=work, args=(stream,), daemon=True))
            self._readers[-1].start()
        if self.microphones:
            self.play()
        else:
            self._readers.append(threading.Thread(target=self._feed, args=(self.process.stdin,), daemon=True))
            self._readers[-1].start()

    def start_broker(self) -> None:
        """Start mosquitto at the port that it had before. Raises MeasurementError where it is not installed."""
        if self._broker_port is None:
            raise MeasurementError("there is no broker; type: sudo apt install mosquitto")
        command = ["mosquitto", "-p", str(self._broker_port)]
        self.broker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def play(self) -> None:
        """Play sound to the microphones."""
        for microphone in self.microphones:
            microphone.hush()
            microphone.play(self._folder / "sound.wav")

    def open_page(self) -> None:
        """Follow the page's stream of events, as a browser does, until the end. Raises MeasurementError."""
        page = next((text for text in self.messages if "the live page is at" in text), "")
        if not page:
            raise MeasurementError("the listener did not say where its page is")
        self._visitor = HTTPConnection("127.0.0.1", int(page.rstrip("/").rpartition(":")[2]), timeout=HANG_SECONDS)
        self._visitor.request("GET", "/events")
        stream = self._visitor.getresponse()
        threading.Thread(target=_follow, args=(stream,), daemon=True).start()

    def set_program(self, text: str) -> None:
        """What --exec runs from now on."""
        new = self._folder / "program.new"
        new.write_text(f"{text}\n")
        new.replace(self._folder / "program.sh")

    def set_aside(self) -> None:
        """Give journal and table other names."""
        for path in (self.journal, self.table):
            aside = path.with_name(f"{path.name}.{len(self._aside)}")
            path.rename(aside)
            self._aside.append(aside)

    @property
    def handles(self) -> int:
        """Open descriptors of the listener."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def wait_for_event(self, seconds: float) -> None:
        """Wait until another event is announced. Raises MeasurementError."""
        with self._changed:
            before = self._events
            self._changed.wait_for(lambda: self._events > before or self.process.poll() is not None, seconds)
            if self._events == before:
                last = self.messages[-1:] or ["no message"]
                raise MeasurementError(f"no event for {seconds:g} s (exit code {self.process.poll()}; {last[0]})")

    @property
    def lost(self) -> set[Beginning]:
        """Announced events that no journal has, and that were not counted in an earlier round."""
        with self._changed:  # before the journals are read: what is announced from now on may come after that
            announced = {(source, at) for _, source, at in self._announced} - self._counted
        stored = {(source, math.floor(1000 * began)) for source, began in self._stored()}
        return {
            (source, at) for source, at in announced if not {(source, at - 1), (source, at), (source, at + 1)} & stored
        }

    @property
    def doubled(self) -> int:
        """How many events a journal has, or a listener announced, more than once; less those of earlier rounds."""
        with self._changed:
            announced = Counter(self._announced)
        return sum(count - 1 for count in (*self._stored().values(), *announced.values())) - self._doubled

    def forget(self, lost: set[Beginning]) -> None:
        """Begin a new round: what was counted is not counted again."""
        self._counted |= lost
        self._doubled += self.doubled

    def _stored(self) -> Counter[tuple[str, float]]:
        """Beginnings in all journals, and how often each is in one: a rotation leaves some in two."""
        # Not those after a date only: at SPEED dates run ahead of time, and go back when the listener starts again.
        stored = Counter[tuple[str, float]]()
        for path in self.disk.glob("events.db*"):
            if path.name.endswith(("-wal", "-shm")):
                continue
            with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
                stored |= Counter(database.execute("SELECT source, began FROM events").fetchall())
        return stored

    def _feed(self, pipe: IO[bytes]) -> None:
        """Sound and quiet in turns, at SPEED times their pace, until the listener is gone."""
        pcm = to_int16(self._sound).astype("<i2").tobytes()
        size = 2 * round(BLOCK_SECONDS * RATE)
        began, given = time.monotonic(), 0
        with suppress(OSError, ValueError):
            while True:
                at = given % len(pcm)
                given += pipe.write(pcm[at : at + size])
                pipe.flush()
                time.sleep(max(0.0, began + given / (2 * RATE * SPEED) - time.monotonic()))

    def read_events(self, stream: IO[bytes]) -> None:
        """Note what a listener announces, until it ends."""
        run = len(self._processes)
        for line in stream:
            with suppress(ValueError):  # a line that a killed listener did not end
                event = json.loads(line)
                if event["kind"] == "begin":
                    at = math.floor(1000 * datetime.fromisoformat(event["began"]).timestamp())
                    with self._changed:
                        self._announced.append((run, event["source"], at))
                        self._events += 1
                        self._changed.notify_all()
        with self._changed:  # it ended
            self._changed.notify_all()

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
        if self._broker_port is not None:
            self.broker.kill()
            self.broker.wait()
        if self._visitor is not None:
            self._visitor.close()
        for microphone in self.microphones:
            microphone.close()
        self.webhook.shutdown()
        self.webhook.server_close()

    @staticmethod
    def mount(folder: Path) -> bool:
        """Put a small disk there; whether that is possible."""
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    @staticmethod
    def unmount(folder: Path) -> None:
        """Take it away."""
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def _follow(stream: HTTPResponse) -> None:
    with suppress(OSError, ValueError, HTTPException):
        while stream.read1(65_536):
            pass


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
