"""Many ten-second files: `edgecap caption`, and batches of several sizes, on one core in alternating turns.

    python -m edgecap_bench.scaling.batching [--files 1000] [--rounds 5] [--model BUNDLE] [--batch 4 ...]
        [--checkout DIR] [--memory 10000]

Counted is processor time of complete processes, starts included. `--checkout` is another checkout, whose `edgecap
caption` is what the others are compared with; without it this one's. Then come the shares of the stages, how many
captions differ, and how memory grows over many files.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from edgecap.audio.file import decode, sound_files
from edgecap.cli.console import table, write
from edgecap.util.progress import Progress, progress_bar
from edgecap_bench.harness.load import cores, pinned
from edgecap_bench.harness.process import ONE_THREAD_EACH
from edgecap_bench.harness.timing import summarise

REPOSITORY = Path(__file__).parents[3]
RATE, SECONDS, DISTINCT = 16_000, 10, 100
"""Of the files, which are links to so many different ones."""
CAPTION, BATCHES = "edgecap caption", "batches of"


def make_files(folder: Path, count: int) -> list[str]:
    """Paths of `count` sounds of ten seconds, 16-bit wav: stretches of the examples at random levels, with noise."""
    random, paths = np.random.default_rng(0), list[str]()
    sources = [decode(path, RATE) for path in sound_files(REPOSITORY / "examples")]
    for number in range(count):
        path = folder / f"{number:05}.wav"
        if number < DISTINCT:
            source = sources[number % len(sources)]
            begin, length = int(random.integers(source.size)), RATE * SECONDS
            sound = np.resize(np.roll(source, -begin), length) * random.uniform(0.3, 1.0)
            soundfile.write(path, np.clip(sound + random.normal(0, 1e-3, length), -1, 1), RATE, subtype="PCM_16")
        else:
            path.hardlink_to(folder / f"{number % DISTINCT:05}.wav")
        paths.append(str(path))
    return paths


class _Way:
    """One way to caption files, in a process of its own each time."""

    def __init__(self, name: str, command: Sequence[str], checkout: Path) -> None:
        self.name, self._command = name, [sys.executable, "-m", *command]
        folders = ("runtime", "train", "export", "benchmarks")
        path = os.pathsep.join(str(checkout / folder) for folder in folders)
        self._environment = {**os.environ, **dict.fromkeys(ONE_THREAD_EACH, "1"), "PYTHONPATH": path}

    def run(self, files: Sequence[str]) -> tuple[float, list[str]]:
        """Seconds of processor time, and lines of output."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [*self._command, *files], env=self._environment, check=True, stdout=subprocess.PIPE, text=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout.splitlines()


def ways(model: str, batches: Sequence[int], checkout: Path) -> list[_Way]:
    """The first is what the others are compared with."""
    chosen = ["--model", model] if model else []
    caption = ["edgecap", "caption", "--json", "--threads", "1", *chosen]
    listed = [_Way(f"{CAPTION}, {checkout.name}", caption, checkout)]
    if checkout != REPOSITORY:
        listed.append(_Way(CAPTION, caption, REPOSITORY))
    child = ["edgecap_bench.scaling.batching_child", *chosen]
    return [*listed, *(_Way(f"{BATCHES} {size}", [*child, "--batch", str(size)], REPOSITORY) for size in batches)]


def compare(compared: Sequence[_Way], files: Sequence[str], rounds: int, progress: Progress) -> list[list[str]]:
    """Rows of a table: milliseconds a file, how many times as fast as the first, texts and beams that differ."""
    seconds: dict[str, list[float]] = {way.name: [] for way in compared}
    captions: dict[str, list[dict[str, object]]] = {}
    for number in range(rounds):
        for way in compared:
            taken, lines = way.run(files)
            seconds[way.name].append(taken)
            captions[way.name] = [json.loads(line) for line in lines]
        progress(number + 1, rounds)
    first, rows = compared[0].name, []
    for name, sample in seconds.items():
        ratio = summarise([base / taken for base, taken in zip(seconds[first], sample, strict=True)])
        rows.append(
            [
                name,
                f"{1e3 * summarise(sample).median / len(files):.2f}",
                f"{ratio.median:.2f}",
                f"{ratio.low:.2f} to {ratio.high:.2f}",
                *(str(_differing(captions[first], captions[name], what)) for what in ("text", "beams")),
            ]
        )
    return rows


def _differing(left: list[dict[str, object]], right: list[dict[str, object]], what: str) -> int:
    def plain(caption: dict[str, object]) -> object:
        value = caption[what]
        return [beam["text"] for beam in value] if isinstance(value, list) else value

    return sum(plain(one) != plain(other) for one, other in zip(left, right, strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--checkout", type=Path, default=REPOSITORY)
    parser.add_argument("--memory", type=int, default=10_000, help="files; 0 leaves it out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as folder, pinned(cores(1)), progress_bar() as progress:
        files = make_files(Path(folder), given.files)
        compared = ways(given.model, given.batch, given.checkout.resolve())
        rows = compare(compared, files, given.rounds, progress)
        header = ["", "ms a file", "times as fast", "95 %", "other texts", "other beams"]
        for line in table(header, rows):
            write(line)
        chosen = ["--model", given.model] if given.model else []
        child = ["edgecap_bench.scaling.batching_child", *chosen]
        _, lines = _Way("stages", [*child, "--stages"], REPOSITORY).run(files)
        if given.memory:
            _, more = _Way("memory", [*child, "--memory", str(given.memory)], REPOSITORY).run(files)
            lines += more
        for line in lines:
            write(line)


if __name__ == "__main__":
    main()
