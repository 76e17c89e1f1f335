"""This checkout against another one, side by side: the stages of a caption on one thread, and the cold start.

    python -m edgecap_bench.figures.against CHECKOUT SOUND [--model BUNDLE] [--other-model BUNDLE] [--rounds 40]

Each version runs in a process of its own, and they take turns. Counted is processor time, which a busy machine
disturbs less than the clock does; a ratio is that of one turn. A version of edgecap that cannot read this one's bundle
gets its own by --other-model.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from edgecap.audio.file import decode
from edgecap.cli.console import table, write
from edgecap.util.files import save_array
from edgecap_bench.harness.process import ONE_THREAD_EACH
from edgecap_bench.harness.timing import summarise

RUNTIME = Path(__file__).parents[3] / "runtime"
SAMPLE_RATE, WINDOW_SECONDS = 16_000, 10.0
STAGES = {"log_mel": 8, "encode": 4, "decode": 10, "caption": 3}
"""What is timed → how often in one turn."""
WORKER = """
import sys, time
import numpy
from edgecap.captioner import Captioner
try:
    from edgecap.audio.frontend import log_mel
except ImportError:
    from edgecap.frontend import log_mel
model, sound = sys.argv[1:]
captioner = Captioner.load(model or None, threads=1)
front_end = captioner.manifest.front_end
samples = numpy.load(sound)
frames = log_mel(samples, front_end)
encoded = captioner.encode(frames)
stages = {
    "log_mel": lambda: log_mel(samples, front_end),
    "encode": lambda: captioner.encode(frames),
    "decode": lambda: captioner.decode(encoded),
    "caption": lambda: captioner.caption(samples, front_end.sample_rate),
}
for line in sys.stdin:
    name, count = line.split()
    stages[name]()
    begin = time.thread_time_ns()
    for _ in range(int(count)):
        stages[name]()
    print((time.thread_time_ns() - begin) / int(count) / 1e9, flush=True)
"""


class _Version:
    """One checkout: a process that times stages, and cold starts."""

    def __init__(self, runtime: Path, model: str, sound: Path, samples: Path) -> None:
        self._environment = {**os.environ, **dict.fromkeys(ONE_THREAD_EACH, "1"), "PYTHONPATH": str(runtime)}
        chosen = ["--model", model] if model else []
        self._command = [sys.executable, "-m", "edgecap", "caption", *chosen, str(sound)]
        self._worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, model, str(samples)],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def stage(self, name: str) -> float:
        """Seconds of processor time of one stage."""
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        self._worker.stdin.write(f"{name} {STAGES[name]}\n")
        self._worker.stdin.flush()
        return float(self._worker.stdout.readline())

    def cold_start(self) -> float:
        """Seconds of processor time of `edgecap caption` in a new process."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(self._command, env=self._environment, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def close(self) -> None:
        """End the process."""
        self._worker.communicate()


def compare(here: _Version, other: _Version, rounds: int) -> list[list[str]]:
    """Rows of a table: what, milliseconds here and there, their ratio and its interval."""
    rows = []
    for name in (*STAGES, "cold start"):
        seconds: list[tuple[float, ...]] = []
        for _ in range(rounds):
            turn = (each.cold_start() if name == "cold start" else each.stage(name) for each in (here, other))
            seconds.append(tuple(turn))
        ratio = summarise([left / right for left, right in seconds])
        times = [f"{1e3 * summarise(sample).median:.2f}" for sample in zip(*seconds, strict=True)]
        rows.append([name, *times, f"{ratio.median:.2f}", f"{ratio.low:.2f} to {ratio.high:.2f}"])
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("sound", type=Path)
    parser.add_argument("--model", default="")
    parser.add_argument("--other-model", default="")
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    sound = given.sound.resolve()
    with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as folder:
        samples = Path(folder) / "sound.npy"
        save_array(samples, decode(sound, SAMPLE_RATE, WINDOW_SECONDS))
        here = _Version(RUNTIME, given.model, sound, samples)
        other = _Version(given.checkout.resolve() / "runtime", given.other_model, sound, samples)
        try:
            for line in table(["", "here, ms", "other, ms", "ratio", "95 %"], compare(here, other, given.rounds)):
                write(line)
        finally:
            here.close()
            other.close()


if __name__ == "__main__":
    main()
