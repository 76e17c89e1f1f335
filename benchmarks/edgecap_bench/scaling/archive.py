"""What `edgecap archive` costs: in this process, with one and two workers of Ray, resumed, and in a long run.

    python -m edgecap_bench.scaling.archive --hours 20 --long-hours 100 --json-file benchmarks/results/archive.json

240 sounds of ten seconds at 16 kHz, stretches of those in `examples` and computed ones, as FLAC, WAV and Opus, are
linked under as many names as there are clips: so they are read from memory, not from a disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer
from pyarrow import parquet

from edgecap.audio.file import decode, sound_files
from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import find_model
from edgecap.cli import report
from edgecap.errors import EdgecapError, MeasurementError
from edgecap_bench.figures.results import Subject
from edgecap_bench.harness.clips import made_clips
from edgecap_bench.harness.load import others_now, refuse_if_busy
from edgecap_bench.reports.measurement import MeasurementStart, write_measurement
from edgecap_bench.reports.output import EvenBusy, show
from edgecap_bench.scaling.archive_result import CLIP_SECONDS, ArchiveScale, ArchiveTiming, archive_page

RATE, DIFFERENT, SHARD_FILES = 16_000, 240, 60
EVERY_SECONDS = 0.25
"""From one look at the memory to the next."""
KINDS = (("local", 1), ("ray", 1), ("ray", 2))


@dataclass(frozen=True)
class _Look:
    """The command at one moment."""

    seconds: float
    shards: int
    resident: int


def measure(hours: float, long_hours: float, clips: Path, model: str | None) -> ArchiveScale:
    """All runs, one after the other. Raises AudioError, BundleError, MeasurementError."""
    bundle = load_bundle(find_model(model))
    with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as folder:
        place = Path(folder)
        sounds = _sounds(clips, place / "different")
        count = max(2 * SHARD_FILES, round(hours * 3600 / CLIP_SECONDS))
        inputs = _linked(sounds, place / "clips", count)
        runs = [_run(inputs, place / f"{engine}-{workers}", engine, workers, model) for engine, workers in KINDS]
        last, long = place / "ray-2", None
        if long_hours:
            inputs, last = _linked(sounds, place / "long", round(long_hours * 3600 / CLIP_SECONDS)), place / "out"
            long = _run(inputs, last, "ray", 2, model)
        begun = time.monotonic()
        _wait(subprocess.Popen(_command(inputs, last, "ray", 2, model), stdout=subprocess.DEVNULL))
        resume = time.monotonic() - begun
        size = sum(path.stat().st_size for path in sounds) / len(sounds)
    return ArchiveScale(
        subject=Subject.of(bundle), input_bytes_a_clip=size, runs=runs, resume_seconds=resume, long=long
    )


def _sounds(clips: Path, folder: Path) -> list[Path]:
    """Different sounds of ten seconds."""
    folder.mkdir()
    length = round(CLIP_SECONDS * RATE)
    sources = [decode(path, RATE) for path in sound_files(clips)] + [clip.samples for clip in made_clips(RATE, length)]
    paths = []
    for number in range(DIFFERENT):
        source = sources[number % len(sources)]
        samples = np.resize(np.roll(source, -7_919 * number), length) * (0.4 + 0.5 * (number % 7) / 7)
        kind = (("flac", "FLAC", None), ("wav", "WAV", None), ("opus", "OGG", "OPUS"))[number % 3]
        paths.append(folder / f"{number:03d}.{kind[0]}")
        soundfile.write(paths[-1], samples.astype(np.float32), RATE, format=kind[1], subtype=kind[2])
    return paths


def _linked(sounds: list[Path], folder: Path, count: int) -> Path:
    """A folder with `count` names for the sounds."""
    folder.mkdir()
    for number in range(count):
        sound = sounds[number % len(sounds)]
        os.link(sound, folder / f"{number:07d}{sound.suffix}")
    return folder


def _command(inputs: Path, out: Path, engine: str, workers: int, model: str | None) -> list[str]:
    more = ["--workers", str(workers)] if engine == "ray" else []
    more += ["--model", model] if model else []
    options = ["--shard-files", str(SHARD_FILES), "--threads", "1", "--engine", engine, *more]
    return [sys.executable, "-m", "edgecap", "archive", str(inputs), "-o", str(out), *options]


def _run(inputs: Path, out: Path, engine: str, workers: int, model: str | None) -> ArchiveTiming:
    """One run from an empty folder, and its memory meanwhile."""
    clips = sum(1 for _ in inputs.iterdir())
    begun, looks = time.monotonic(), list[_Look]()
    process = subprocess.Popen(_command(inputs, out, engine, workers, model), stdout=subprocess.DEVNULL)
    while process.poll() is None:
        shards = sum(1 for _ in (out / "captions").glob("shard-*")) if out.is_dir() else 0
        looks.append(_Look(time.monotonic() - begun, shards, _resident(process.pid)))
        time.sleep(EVERY_SECONDS)
    seconds = time.monotonic() - begun
    _wait(process)
    first = next((look for look in looks if look.shards), looks[-1])
    last = next(look for look in looks if look.shards == looks[-1].shards)
    if last.shards == first.shards:
        raise MeasurementError(f"{clips} clips are too few to see how fast they are; name more --hours")
    between = (last.shards - first.shards) * SHARD_FILES
    late = [look for look in looks if look.shards * SHARD_FILES >= clips / 5] or looks
    done = [look.shards * SHARD_FILES for look in late]
    slope = np.polyfit(done, [look.resident for look in late], 1)[0] if len(set(done)) > 1 else 0.0
    tables = sorted((out / "captions").glob("*.parquet"))
    return ArchiveTiming(
        engine=engine,
        workers=workers,
        clips=clips,
        seconds=seconds,
        seconds_a_clip=(last.seconds - first.seconds) * workers / between,
        peak_bytes=max(look.resident for look in looks),
        bytes_a_clip=float(slope),
        output_bytes=sum(path.stat().st_size for path in tables),
        rows=sum(parquet.read_metadata(path).num_rows for path in tables),
    )


def _wait(process: subprocess.Popen[bytes]) -> None:
    if process.wait():
        raise MeasurementError(f"edgecap archive ended with exit code {process.returncode}; see what it printed")


def _resident(pid: int) -> int:
    """Proportional set size of a process and all below it, in bytes."""
    parents = dict[int, int]()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    todo, total = {pid}, 0
    while todo:
        for each in todo:
            try:
                lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            total += 1024 * next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
        todo = {child for child, parent in parents.items() if parent in todo}
    return total


def main(
    *,
    hours: Annotated[float, typer.Option(help="Of sound, in each of the three runs.")] = 20.0,
    long_hours: Annotated[float, typer.Option(help="Of sound in a run of two workers; 0 leaves it out.")] = 0.0,
    clips: Annotated[Path, typer.Option(help="Sounds to make clips from.")] = Path("examples"),
    model: Annotated[str | None, typer.Option(help="Name or folder of a model.")] = None,
    json_file: Annotated[Path | None, typer.Option(help="Where the result goes.")] = None,
    even_busy: EvenBusy = False,
) -> None:
    """Measure `edgecap archive` and print the tables."""
    try:
        others = others_now()
        if not even_busy:
            refuse_if_busy(others)
        command = f"python -m edgecap_bench.scaling.archive --hours {hours:g} --long-hours {long_hours:g}"
        start = MeasurementStart(command, packages=("ray", "pyarrow"))
        measurement = start.end(measure(hours, long_hours, clips, model), partial=not long_hours)
        show(archive_page(measurement))
        if json_file:
            write_measurement(json_file, measurement)
    except EdgecapError as error:
        raise SystemExit(report(error)) from None


if __name__ == "__main__":
    typer.run(main)
