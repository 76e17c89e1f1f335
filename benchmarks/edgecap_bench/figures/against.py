"""This checkout against another one, side by side: a caption on one thread by stages, listening, and the cold start.

    python -m edgecap_bench.figures.against CHECKOUT SOUND [--model BUNDLE] [--other-model BUNDLE] [--rounds 40]
        [--stream SOUND] [--streams SECONDS] [--only NAME ...]

Each version runs in a process of its own, and they take turns. Counted is processor time, which a busy machine
disturbs less than the clock does; a ratio is that of one turn. A version of edgecap that cannot read this one's bundle
gets its own by --other-model.

"hop" is the caption of a window that slides 2 s, in a stream that is SOUND again and again, or another sound by
--stream: a long one with changes, since a steady one costs less. "16 streams", with --streams, is the share of one core
that sixteen listeners to that sound take for so long, in real time and with every window decoded.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from edgecap.audio.file import decode
from edgecap.cli.console import table, write
from edgecap.types import Waveform
from edgecap.util.files import save_array
from edgecap_bench.harness.process import ONE_THREAD_EACH
from edgecap_bench.harness.timing import summarise

ROOT = Path(__file__).parents[3]
SAMPLE_RATE, WINDOW_SECONDS = 16_000, 10.0
STREAMS, MICROPHONE_RATE, STREAM_SECONDS = 16, 48_000, 300.0
STAGES = {"log_mel": 8, "encode": 4, "decode": 10, "caption": 3, "hop": 20}
"""What is timed → how often in one turn."""
WORKER = """
import pathlib, sys, time
import numpy
from edgecap.captioner import Captioner
try:
    from edgecap.audio.frontend import log_mel
    from edgecap.live.events.describe import Describer, WindowJob
    from edgecap.live.pipeline.stream import MelStream
except ImportError:
    from edgecap.frontend import log_mel
    from edgecap.live.describe import Describer, WindowJob
    from edgecap.live.stream import MelStream
model, sound, stream, folder = sys.argv[1:]
captioner = Captioner.load(model or None, threads=1)
front_end, window = captioner.manifest.front_end, captioner.manifest.encoder.window_frames
samples, listened = numpy.load(sound), numpy.load(stream)
frames = log_mel(samples, front_end)
encoded = captioner.encode(frames)
mel, describe, step = MelStream(front_end, window), Describer(captioner, novelty=2.0), 2 * front_end.sample_rate
place = 6 * step
mel.push(listened.take(numpy.arange(place), mode="wrap"))

def hop():
    global place
    mel.push(listened.take(numpy.arange(place, place + step), mode="wrap"))
    place += step
    if hasattr(mel, "end"):
        frames = mel.newest()
        describe(WindowJob(frames, 0.0, 10.0, -20.0, 0.0, 10.0, mel.end - len(frames), True))
    else:
        describe(WindowJob(mel.window(), 0.0, 10.0, -20.0, 0.0, 0.0, 10.0))

def streams(seconds):
    try:
        from edgecap_bench.live.listen_streams import run
    except ImportError:
        from edgecap_bench.listen_streams import run
    result = run(sorted(pathlib.Path(folder).glob("*.wav")), model=model or None, seconds=seconds, hop=2.0)
    if result["dropped"] or result["lost"]:
        sys.exit(f"16 streams are too many for this machine: {result}")
    return result["share"]

stages = {
    "log_mel": lambda: log_mel(samples, front_end),
    "encode": lambda: captioner.encode(frames),
    "decode": lambda: captioner.decode(encoded),
    "caption": lambda: captioner.caption(samples, front_end.sample_rate),
    "hop": hop,
}
for line in sys.stdin:
    name, count = line.split()
    if name == "streams":
        print(streams(float(count)), flush=True)
        continue
    stages[name]()
    begin = time.thread_time_ns()
    for _ in range(int(count)):
        stages[name]()
    print((time.thread_time_ns() - begin) / int(count) / 1e9, flush=True)
"""


class _Version:
    """One checkout: a process that times stages and listens, and cold starts."""

    def __init__(self, checkout: Path, model: str, sound: Path, folder: Path) -> None:
        """`folder` holds what `_prepare` wrote."""
        path = os.pathsep.join(str(checkout / part) for part in ("runtime", "benchmarks"))
        bytecode = {"PYTHONPYCACHEPREFIX": tempfile.mkdtemp(dir=folder), "PYTHONDONTWRITEBYTECODE": ""}
        self._environment = {**os.environ, **dict.fromkeys(ONE_THREAD_EACH, "1"), "PYTHONPATH": path, **bytecode}
        self._compiled, chosen = False, ["--model", model] if model else []
        self._command = [sys.executable, "-m", "edgecap", "caption", *chosen, str(sound)]
        arguments = [model, *(str(folder / name) for name in ("sound.npy", "stream.npy", "streams"))]
        self._worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, *arguments],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, name: str, seconds: float) -> float:
        """Seconds of processor time of one stage or of a cold start; for "16 streams", the share of one core."""
        if name == "cold start":
            if not self._compiled:  # as an installed program is
                self._compiled = self._cold_start() > 0.0
            return self._cold_start()
        line = f"streams {seconds}" if name == "16 streams" else f"{name} {STAGES[name]}"
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        self._worker.stdin.write(f"{line}\n")
        self._worker.stdin.flush()
        if not (answer := self._worker.stdout.readline()):
            sys.exit("one of the two versions ended; its last words are above")
        return float(answer)

    def _cold_start(self) -> float:
        """`edgecap caption` in a new process."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(self._command, env=self._environment, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def close(self) -> None:
        """End the process."""
        self._worker.communicate()


def compare(here: _Version, other: _Version, names: list[str], rounds: int, seconds: float) -> list[list[str]]:
    """Rows of a table: what, milliseconds (of streams: in a second) here and there, their ratio and its interval."""
    rows = []
    for name in names:
        measured = [tuple(each.measure(name, seconds) for each in (here, other)) for _ in range(rounds)]
        ratio = summarise([left / right for left, right in measured])
        times = [f"{1e3 * summarise(sample).median:.2f}" for sample in zip(*measured, strict=True)]
        rows.append([name, *times, f"{ratio.median:.2f}", f"{ratio.low:.2f} to {ratio.high:.2f}"])
    return rows


def _prepare(folder: Path, sound: Path, stream: Path, seconds: float) -> None:
    """The sounds as arrays, and a recording for each of the streams, which begin at different places of it."""
    save_array(folder / "sound.npy", decode(sound, SAMPLE_RATE, WINDOW_SECONDS))
    save_array(folder / "stream.npy", decode(stream, SAMPLE_RATE, STREAM_SECONDS))
    (folder / "streams").mkdir()
    if not seconds:
        return
    heard, length = decode(stream, MICROPHONE_RATE, STREAM_SECONDS), round((seconds + 5.0) * MICROPHONE_RATE)
    for number in range(STREAMS):
        part: Waveform = np.resize(np.roll(heard, -number * heard.size // STREAMS), length)
        soundfile.write(folder / "streams" / f"{number:02}.wav", part, MICROPHONE_RATE)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("sound", type=Path)
    parser.add_argument("--model", default="")
    parser.add_argument("--other-model", default="")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--stream", type=Path)
    parser.add_argument("--streams", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--only", action="append", choices=[*STAGES, "cold start"])
    given = parser.parse_args()
    sound, seconds = given.sound.resolve(), given.streams
    names = (given.only or ([] if seconds else [*STAGES, "cold start"])) + (["16 streams"] if seconds else [])
    with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as place:
        folder = Path(place)
        _prepare(folder, sound, given.stream or sound, seconds)
        here = _Version(ROOT, given.model, sound, folder)
        other = _Version(given.checkout.resolve(), given.other_model, sound, folder)
        try:
            rows = compare(here, other, names, given.rounds, seconds)
            for line in table(["", "here, ms", "other, ms", "ratio", "95 %"], rows):
                write(line)
        finally:
            here.close()
            other.close()


if __name__ == "__main__":
    main()
