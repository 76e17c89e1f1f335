"""The figures of `edgecap listen`, measured through a real capture path.

    python -m edgecap_bench.live.listen --json-file benchmarks/results/listen.json            some four minutes
    python -m edgecap_bench.live.listen --only overflows --minutes 60 --json-file FILE         an hour

Exit code 0 where everything wanted is reached, 1 where something is not, 10 on a busy machine (unless --even-busy).
"""

from __future__ import annotations

import json as json_format
import multiprocessing
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
import typer

from edgecap.bundle.bundle import read_manifest
from edgecap.bundle.models import find_model
from edgecap.cli.console import say
from edgecap.cli.options import Model
from edgecap.errors import MeasurementError
from edgecap.types import Waveform
from edgecap.util.files import check_writable
from edgecap_bench.harness import load
from edgecap_bench.harness.clips import load_clips
from edgecap_bench.live import listen_streams
from edgecap_bench.live.command import listen_command
from edgecap_bench.live.listen_result import ListenFigure, Listening
from edgecap_bench.live.virtual_microphone import VirtualMicrophone
from edgecap_bench.reports import output
from edgecap_bench.reports.measurement import MeasurementStart, write_measurement
from edgecap_bench.reports.output import Clips, EvenBusy, JsonFile

RATE = 48_000
HOP = 2.0
"""Seconds."""
STREAMS = 16
STARTS = 5
SETTLE, END = 5.0, 3.0
"""Seconds at the beginning and at the end of listening that do not count for the processor's share."""
QUIET_DBFS = -80.0
FIRST_WINDOW = 1.0
"""Seconds of a new sound before it is captioned (`edgecap.live.listener.ONSET`)."""
SUMMARY = re.compile(
    r"stopped after (\d+) events, (\d+) captions, (\d+) hops quiet, (\d+) hops skipped, ([\d.]+) s of "
    r"sound dropped, (\d+) overflows; ([\d.]+) % of one core, captions at most (\d+) ms"
)
NAMES = ("sound", "quiet", "latency", "start", "streams", "overflows")


def listen(
    *,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help=f"Of {', '.join(NAMES)} (repeatable).")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=12, help="Length of each measurement.")] = 40.0,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.1, help="Length of the watch for overflows, the other cores busy.")
    ] = 1.0,
    model: Model = None,
    clips: Clips = None,
    json: JsonFile = None,
    even_busy: EvenBusy = False,
) -> None:
    """Measure processor share, latency, start, many streams and overflows of listening."""
    names = only or list(NAMES)
    for name in names:
        if name not in NAMES:
            raise typer.BadParameter(f"unknown measurement {name!r}; use {', '.join(NAMES)}", param_hint="--only")
    if json:
        check_writable(json)
    command = ["python -m edgecap_bench.live.listen", *(f"--only {name}" for name in only or [])]
    command += [f"--seconds {seconds:g} --minutes {minutes:g}", *([f"--clips {clips.name}"] if clips else [])]
    watch = load.Watch(even_busy)
    start = MeasurementStart(" ".join(command), watch)
    with tempfile.TemporaryDirectory(prefix="edgecap-listen-") as folder:
        bench = ListenBench(Path(folder), model=model, clips=clips, seconds=seconds, minutes=minutes)
        figures = [figure for name in names for figure in bench.measure(name)]
    measurement = start.end(Listening(model=bench.model, precision=bench.precision, measured=figures))
    if json:
        write_measurement(json, measurement)
    output.finish([figure.criterion for figure in figures])
    watch.refuse_if_disturbed()


class ListenBench:
    """The measurements; each listener is a separate process, kept on the last core."""

    def __init__(self, folder: Path, *, model: str | None, clips: Path | None, seconds: float, minutes: float) -> None:
        manifest = read_manifest(find_model(model))
        self.model, self.precision = manifest.name, manifest.precision
        self._model, self._folder, self._seconds, self._minutes = model, folder, seconds, minutes
        self._cores = load.cores(1)
        self._clips = [clip.samples for clip in load_clips(clips, RATE, round(4.0 * RATE))]

    def measure(self, name: str) -> list[ListenFigure]:
        """One measurement by its name."""
        work: Callable[[], list[ListenFigure]] = getattr(self, f"_{name}")
        say("note", f"measuring {name}")
        return work()

    def _sound(self) -> list[ListenFigure]:
        """While sounds change every four seconds, without a pause."""
        with VirtualMicrophone() as microphone:
            microphone.play(self._long(self._seconds + 20.0))
            share, slowest, _, captions = self._listen(microphone, self._seconds, "--novelty", "2")
        return [
            ListenFigure("processor in sound", 100 * share, "% of one core", 3.0, f"{captions} captions, none reused"),
            ListenFigure("caption after its window", 1000 * slowest, "ms", 150.0, "the slowest"),
        ]

    def _quiet(self) -> list[ListenFigure]:
        noise = np.random.default_rng(1).standard_normal(round((self._seconds + 20.0) * RATE)) * 10 ** (QUIET_DBFS / 20)
        soundfile.write(self._folder / "quiet.wav", noise, RATE)
        with VirtualMicrophone() as microphone:
            microphone.play(self._folder / "quiet.wav")
            share, _, _, captions = self._listen(microphone, self._seconds)
        return [ListenFigure("processor in quiet", 100 * share, "% of one core", 0.7, f"{captions} captions")]

    def _latency(self) -> list[ListenFigure]:
        """Delay from the first second of a sound that begins in quiet to its event, player and buffers included."""
        soundfile.write(self._folder / "short.wav", self._clips[0], RATE)
        delays = []
        with VirtualMicrophone() as microphone, self._process(microphone) as process:
            self._ready(process)
            for _ in range(STARTS):
                began = time.monotonic()
                player = microphone.play(self._folder / "short.wav")
                while self._event(process)["kind"] != "begin":
                    pass
                delays.append(time.monotonic() - began - FIRST_WINDOW)
                player.wait()
                time.sleep(HOP + 1.0)
            process.terminate()
        return [
            ListenFigure(
                "event after its sound's first second",
                1000 * max(delays),
                "ms",
                1000 * HOP + 150.0,
                f"the slowest of {STARTS}, the player's start included",
            )
        ]

    def _start(self) -> list[ListenFigure]:
        """Time from the start of the process to its first event, less the sound of the event's first window."""
        delays = []
        with VirtualMicrophone() as microphone:
            microphone.play(self._long(20.0 * STARTS))
            for _ in range(STARTS):
                began = time.monotonic()
                with self._process(microphone) as process:
                    event = self._event(process)
                    delays.append(time.monotonic() - began - float(event["end"]))
                    process.terminate()
        return [
            ListenFigure(
                "start to first caption, after its window",
                1000 * max(delays),
                "ms",
                1500.0,
                f"the slowest of {STARTS} starts of the process",
            )
        ]

    def _streams(self) -> list[ListenFigure]:
        files = []
        for number in range(STREAMS):
            files.append(self._folder / f"stream{number}.wav")
            soundfile.write(files[-1], self._walk(self._seconds + 10.0, number), RATE)
        with load.pinned(self._cores):
            streams = listen_streams.run(files, model=self._model, seconds=self._seconds, hop=HOP)
        due = STREAMS * int(self._seconds / HOP)
        return [
            ListenFigure(
                f"{STREAMS} streams, hops without a caption",
                streams["dropped"],
                "hops",
                0.0,
                f"{streams['captions']:.0f} captions of {due} hops at {HOP:g} s, every window decoded, "
                f"{100 * streams['share']:.0f} % of one core",
            ),
            ListenFigure(
                f"{STREAMS} streams, slowest caption", 1000 * streams["slowest"], "ms", 1000 * HOP, "after its window"
            ),
        ]

    def _overflows(self) -> list[ListenFigure]:
        """Sound lost while every other core is kept busy."""
        seconds = 60.0 * self._minutes
        others = sorted(os.sched_getaffinity(0) - set(self._cores)) if self._cores else []
        busy = [multiprocessing.Process(target=spin, args=(core,), daemon=True) for core in others]
        for process in busy:
            process.start()
        try:
            with VirtualMicrophone() as microphone:
                microphone.play(self._long(seconds + 30.0))
                share, _, overflows, captions = self._listen(microphone, seconds)
        finally:
            for process in busy:
                process.kill()
        return [
            ListenFigure(
                "overflows with the other cores busy",
                float(overflows),
                "",
                0.0,
                f"in {self._minutes:g} minutes, {len(busy)} other cores busy, {captions} captions, "
                f"{100 * share:.1f} % of one core",
            )
        ]

    def _listen(self, microphone: VirtualMicrophone, seconds: float, *more: str) -> tuple[float, float, int, int]:
        """Listen for so long: share of one core once it is under way, slowest caption (s), overflows, captions."""
        with self._process(microphone, "--duration", str(seconds), *more, events=subprocess.DEVNULL) as process:
            self._ready(process)
            time.sleep(SETTLE)
            began, used = time.monotonic(), load.processor_seconds(process.pid)
            time.sleep(seconds - SETTLE - END)
            share = (load.processor_seconds(process.pid) - used) / (time.monotonic() - began)
            _, words = process.communicate(timeout=2 * seconds + 60.0)
        summary = SUMMARY.search(words)
        if summary is None:
            raise MeasurementError(f"the listener ended without its summary: {words.strip().splitlines()[-1:]}")
        return share, float(summary[8]) / 1000, int(summary[6]), int(summary[2])

    def _process(
        self, microphone: VirtualMicrophone, *more: str, events: int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """A listener; a pipe of its `events` must be read, or it fills up and holds the listener."""
        command = listen_command("--hop", str(HOP), *more, model=self._model)
        environment = {**microphone.environment, "OMP_NUM_THREADS": "1"}
        with load.pinned(self._cores):  # the child inherits them
            return subprocess.Popen(command, env=environment, text=True, stdout=events, stderr=subprocess.PIPE)

    @staticmethod
    def _event(process: subprocess.Popen[str]) -> dict[str, Any]:
        """The next event of a listener. Raises MeasurementError where it has ended."""
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        if not line:
            raise MeasurementError(f"the listener ended early: {process.stderr.read().strip().splitlines()[-1:]}")
        event: dict[str, Any] = json_format.loads(line)
        return event

    @staticmethod
    def _ready(process: subprocess.Popen[str]) -> None:
        """Wait until it captures."""
        assert process.stderr is not None
        for line in process.stderr:
            if "listening to" in line:
                break
        time.sleep(2.0)  # until its buffers have filled

    def _long(self, seconds: float) -> Path:
        path = self._folder / "long.wav"
        soundfile.write(path, self._walk(seconds, 0), RATE)
        return path

    def _walk(self, seconds: float, turn: int) -> Waveform:
        """Clips one after the other, beginning with number `turn`."""
        order = [self._clips[(turn + number) % len(self._clips)] for number in range(len(self._clips))]
        return np.asarray(np.resize(np.concatenate(order), round(seconds * RATE)), np.float32)


def spin(core: int) -> None:
    """Keep one core busy until killed."""
    os.sched_setaffinity(0, {core})
    total = 0
    while True:
        total += 1


if __name__ == "__main__":
    output.run_command(listen)
