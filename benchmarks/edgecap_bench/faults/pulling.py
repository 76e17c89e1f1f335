"""How long a pull takes beside curl and sha256sum: a file of 46 MB, as a published student has, from loopback.

    python -m edgecap_bench.faults.pulling

In turns: the program curl and then sha256sum; the download of `edgecap pull`, which hashes what comes, in a process
that runs; and the command as a whole, for a bundle with a file of that size: it also starts Python, loads NumPy and
ONNX Runtime, hashes every file again in its place and loads the graphs, so that no bundle that does not run replaces
one that does. What is wanted is held against the download, which does what curl and sha256sum do. The server is
`python -m http.server`. Exit code 0 where the wanted ratio is reached, else 1; a result on an idle machine.
On a busy one `--processor-time` counts user and system time, which others disturb less.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Annotated
from unittest.mock import patch
from urllib.request import urlopen

import typer

from edgecap.bundle.bundle import BundleContent, load_bundle, write_bundle
from edgecap.bundle.models import BUNDLED
from edgecap.errors import MissingDependencyError
from edgecap.pull.cache import CacheSlot
from edgecap.pull.client import Client, Limits
from edgecap.pull.download import Wanted, download
from edgecap.pull.places import Network
from edgecap_bench.harness.bytecode import compiled
from edgecap_bench.harness.timing import Summary, Timed, interleave, summarise
from edgecap_bench.reports import output
from edgecap_bench.reports.tables import Criterion

SIZE = 46_000_000
MOST_RATIO = 1.3
FILE = "student.bin"


def pulling(
    *,
    rounds: Annotated[int, typer.Option("--rounds", min=1, metavar="N")] = 15,
    size: Annotated[int, typer.Option("--size", min=1, metavar="BYTES")] = SIZE,
    processor_time: Annotated[
        bool, typer.Option("--processor-time", help="Of the processor, without waiting.")
    ] = False,
) -> None:
    """Measure, and print what was wanted and reached."""
    if missing := [name for name in ("curl", "sha256sum") if shutil.which(name) is None]:
        raise MissingDependencyError(f"{missing[0]} is missing; type: sudo apt install curl coreutils")
    with tempfile.TemporaryDirectory(prefix="edgecap-pull-") as folder:
        times = measured(Path(folder), rounds, size, _used if processor_time else time.perf_counter)
    output.finish(criteria(times))


def measured(folder: Path, rounds: int, size: int, clock: Callable[[], float]) -> dict[str, Summary]:
    """Seconds of each way."""
    published = _bundle(folder / "published", size)
    environment = compiled() | {"EDGECAP_CACHE": str(folder / "cache"), "EDGECAP_HOME": str(folder / "home")}
    with serving(published) as url, patch.dict(os.environ, environment):
        ways: dict[str, Timed] = {
            "curl and sha256sum": _quietly(f"curl -sSf -o {folder}/got {url}{FILE} && sha256sum {folder}/got"),
            "download": _download(f"{url}{FILE}"),
            "edgecap pull": _quietly(f"{sys.executable} -m edgecap pull --force --name pulled {url}"),
            "import onnxruntime": _quietly(f"{sys.executable} -c 'import onnxruntime'"),
        }
        seconds = interleave(ways, rounds, clock=clock)
    return {name: summarise(sample) for name, sample in seconds.items()}


def criteria(times: dict[str, Summary]) -> list[Criterion]:
    """What is wanted, and whether it is so; the command's own time is told."""
    curl = times["curl and sha256sum"].median
    ratio, of_command = times["download"].median / curl, times["edgecap pull"].median / curl
    shown = [Criterion(name, f"{1000 * each.median:.0f} ms", "", True) for name, each in times.items()]
    wanted = f"at most {MOST_RATIO:g} times curl and sha256sum"
    command = Criterion("the whole command", f"{of_command:.2f} times", "", True)
    return [*shown, command, Criterion("download", f"{ratio:.2f} times", wanted, ratio <= MOST_RATIO)]


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a folder's files, served by a process of its own."""
    command = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(folder), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().partition("(")[2].partition(")")[0]  # Serving HTTP on … (http://…/) …
            with urlopen(url, timeout=20.0):
                yield url
        finally:
            server.terminate()


def _bundle(folder: Path, size: int) -> Path:
    """The model of the package with weights of so many bytes."""
    tiny = load_bundle(BUNDLED / "tiny")
    files = [entry for entry in tiny.manifest.files if entry.role != "weights"]
    contents = [BundleContent(entry.name, entry.role, tiny.folder / entry.name) for entry in files]
    contents.append(BundleContent(FILE, "weights", random.Random(0).randbytes(size)))
    write_bundle(folder, tiny.manifest, contents)
    return folder


def _quietly(command: str) -> Timed:
    """A command line of a shell, whose results are not shown."""

    def run(_round: int) -> None:
        subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    return run


def _download(url: str) -> Timed:
    """A download of a file that is not in the cache."""
    client = Client(Network(), Limits())

    def run(_round: int) -> None:
        slot = CacheSlot(url)
        with slot.locked(_silent):
            slot.clear()
            download(client, slot, url, Wanted())

    return run


def _used() -> float:
    """Seconds of the processor that this process and those that it started and waited for have taken."""
    return sum(each.ru_utime + each.ru_stime for each in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN)))


def _silent(_kind: str, _text: str) -> None:
    """Tell nobody."""


if __name__ == "__main__":
    output.run_command(pulling)
