"""How the cost of captions grows with the work: length of the sound, beams, streams at once, threads.

Each curve is taken in a process of its own, its points in turns (shortest, …, longest, shortest, …). Beams and threads
are compared at the same number of generated tokens; long sounds and streams get the captions that they get.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.manifest import Manifest
from edgecap.bundle.models import find_model
from edgecap.captioner import Captioner
from edgecap.live.pipeline.stream import MelStream
from edgecap.types import Waveform
from edgecap_bench.candidates.runners import BundleRunner, Candidate
from edgecap_bench.comparison.results import HOP_SECONDS
from edgecap_bench.figures.figures import growth, subject_of, windows_of, write_long
from edgecap_bench.harness import board_state as condition
from edgecap_bench.harness.board_state import Condition
from edgecap_bench.harness.child import memory
from edgecap_bench.harness.clips import load_clips
from edgecap_bench.harness.energy import find_meter
from edgecap_bench.harness.processes import Measurement
from edgecap_bench.harness.workers import MeasurementProcess
from edgecap_bench.reports.results import Subject
from edgecap_bench.scaling.results import Curve, CurveName, Hour, Point

Progress = Callable[[str, int, int], None]
LENGTHS = (1, 2, 5, 10, 20, 60, 120, 300, 600)
"""Seconds of sound."""
BEAMS = tuple(range(1, 9))
STREAMS = (1, 2, 4, 8, 16, 32)
HOUR_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class GrowthPlan:
    """What to let grow."""

    model: str | None
    clips: Path | None
    rounds: int
    tokens: int
    threads: int
    cores: Sequence[int]
    all_cores: Sequence[int]
    hour_seconds: int = HOUR_SECONDS
    """Length of the long file; less for a trial, 0 leaves it out."""
    longest: int = LENGTHS[-1]
    """Seconds of the longest clip."""


@dataclass
class Grown:
    """What was measured so far."""

    subject: Subject
    clips: list[str]
    before: Condition
    curves: list[Curve]
    hour: Hour | None = None
    after: Condition | None = None
    energy: str = ""
    partial: bool = False
    left_out: list[str] = field(default_factory=list)


def measure_growth(plan: GrowthPlan, progress: Progress) -> Grown:
    """All curves and the hour. Ctrl-C ends it with the whole curves so far, `partial`; before the first, it is raised.

    Raises EdgecapError for a model or for sounds that cannot be used.
    """
    bundle = load_bundle(find_model(plan.model))
    manifest = bundle.manifest
    rate = manifest.front_end.sample_rate
    window = (manifest.encoder.window_frames - 1) * manifest.front_end.hop_length
    sounds = load_clips(plan.clips, rate, window)
    grown = Grown(subject_of(bundle), [sound.name for sound in sounds], condition.look(), [])
    run = Measurement(plan.cores, plan.threads)
    most = manifest.decoder.beams or BEAMS[-1]
    asked: list[tuple[CurveName, list[int]]] = [
        ("length", [length for length in LENGTHS if length <= plan.longest]),
        ("beams", [beam for beam in BEAMS if beam <= most]),
    ]
    if manifest.encoder.input == "log_mel":
        asked.append(("streams", list(STREAMS)))
    else:
        grown.left_out.append("streams: the front end is part of this model's graph, so no frame can be kept")
    if most < BEAMS[-1]:
        grown.left_out.append(f"more than {most} beams: this model's decoder is fixed to them")
    try:
        for name, values in asked:
            spec = {
                "model": plan.model,
                "clips": plan.clips and str(plan.clips),
                "rounds": plan.rounds,
                "threads": plan.threads,
                "tokens": min(plan.tokens, manifest.decoder.max_tokens),
                "curve": name,
                "values": values,
            }
            found = run.run("grow", json.dumps(spec), progress=partial(progress, name))
            grown.curves.append(Curve(name=name, points=[Point(**point) for point in found["points"]]))
        grown.curves.append(_threads(plan, manifest, progress))
        if plan.hour_seconds:
            _hour(plan, manifest, [sound.samples for sound in sounds], grown, progress)
    except KeyboardInterrupt:
        if not grown.curves:
            raise
        grown.partial = True
    grown.after = condition.look()
    return grown


def _hour(plan: GrowthPlan, manifest: Manifest, sounds: Sequence[Waveform], grown: Grown, progress: Progress) -> None:
    """An hour of audio from a file: its time, its processor time, its energy, and the memory window by window."""
    run = Measurement(plan.cores, plan.threads)
    meter = find_meter()
    with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as folder:
        file = Path(folder) / "hour.wav"
        write_long(file, sounds, plan.hour_seconds)
        spec = {
            "model": plan.model,
            "threads": plan.threads,
            "file": str(file),
            "windows": windows_of(manifest, plan.hour_seconds),
        }
        if meter:
            meter.start()
        walked = run.run("walk", json.dumps(spec), progress=lambda done, total: progress("an hour", done, total))
        joules = meter.stop() if meter else None
    grown.energy = meter.source if meter else ""
    grown.hour = Hour(
        audio_seconds=plan.hour_seconds,
        seconds=walked["seconds"][-1],
        processor_seconds=walked["processor_seconds"],
        joules=joules,
        resident_bytes=walked["resident_bytes"],
        growth_bytes=growth(walked["resident_bytes"]),
    )


def _threads(plan: GrowthPlan, manifest: Manifest, progress: Progress) -> Curve:
    """One process for each number of threads, taking turns."""
    numbers = range(1, len(plan.all_cores) + 1) if plan.all_cores else range(plan.threads, plan.threads + 1)
    entry = asdict(Candidate(key="model", kind="bundle", path=str(find_model(plan.model))))
    beam = min(3, manifest.decoder.beams or 3)
    tokens = min(plan.tokens, manifest.decoder.max_tokens)
    workers: list[tuple[int, MeasurementProcess]] = []
    try:
        for threads in numbers:
            spec = {
                "beam": beam,
                "tokens": tokens,
                "threads": threads,
                "entry": entry,
                "clips": plan.clips and str(plan.clips),
            }
            worker = MeasurementProcess("run", spec, plan.all_cores[-threads:], threads)
            workers.append((threads, worker))
            worker.answer()
        turns = []
        for number in range(plan.rounds):
            progress("threads", number, plan.rounds)
            turns.append([worker.ask(number) for _, worker in workers])
    finally:
        for _, worker in workers:
            worker.end()
    return Curve(
        name="threads",
        points=[
            Point(
                x=threads,
                seconds=[turn[place]["stages"]["caption"] for turn in turns],
                resident_bytes=max(turn[place]["peak_bytes"] for turn in turns),
            )
            for place, (threads, _) in enumerate(workers)
        ],
    )


def grow(
    model: str | None,
    clips: str | None,
    *,
    rounds: int,
    threads: int,
    tokens: int,
    curve: str,
    values: list[int],
    progress: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    """One curve in this process: every value once a round, in turns; the points as `Point` has them."""
    folder = tempfile.TemporaryDirectory(prefix="edgecap-bench-")
    with folder:
        make = {"length": _of_length, "beams": _of_beams, "streams": _of_streams}[curve]
        runs = make(model, Path(clips) if clips else None, threads, tokens, values, Path(folder.name))
        points: list[dict[str, Any]] = [{"x": value, "seconds": [], "resident_bytes": 0} for value in values]
        for turn in range(-1, rounds):  # the first turn warms up
            for point, run in zip(points, runs, strict=True):
                begin = time.perf_counter()
                run()
                taken = time.perf_counter() - begin
                if turn >= 0:
                    point["seconds"].append(taken)
                else:  # the least work comes first, so this is what more work adds
                    point["resident_bytes"] = memory("VmRSS")
            progress(turn + 2, rounds + 1)
    return points


Runs = list[Callable[[], object]]


def _of_length(model: str | None, clips: Path | None, threads: int, _: int, values: list[int], folder: Path) -> Runs:
    """Files of each length, walked as `edgecap caption` walks them."""
    captioner = Captioner.load(model, threads=threads)
    rate = captioner.manifest.front_end.sample_rate
    sounds = load_clips(clips, rate, round(captioner.window * rate))
    whole = np.concatenate([sound.samples for sound in sounds])
    for seconds in values:
        soundfile.write(folder / f"{seconds}.wav", np.resize(whole, seconds * rate), rate, subtype="PCM_16")
    del whole, sounds

    def walk(seconds: int) -> Callable[[], object]:
        def run() -> None:
            for _ in captioner.caption_file(folder / f"{seconds}.wav"):
                pass

        return run

    return [walk(seconds) for seconds in values]


def _of_beams(model: str | None, clips: Path | None, threads: int, tokens: int, values: list[int], _: Path) -> Runs:
    """One clip, each number of beams, the same number of tokens."""
    runner = BundleRunner(str(find_model(model)), threads)
    samples = load_clips(clips, runner.rate, runner.length)[0].samples

    def caption(beam: int) -> Callable[[], object]:
        return lambda: runner.decode(runner.encode(runner.front_end(samples)), beam, tokens)

    return [caption(beam) for beam in values]


def _of_streams(model: str | None, clips: Path | None, threads: int, _: int, values: list[int], __: Path) -> Runs:
    """So many streams in one process, one model for all: a hop of each."""
    captioner = Captioner.load(model, threads=threads)
    manifest = captioner.manifest
    rate = manifest.front_end.sample_rate
    sounds = [sound.samples for sound in load_clips(clips, rate, round(captioner.window * rate))]
    step = round(HOP_SECONDS * rate)

    streams: list[MelStream] = []

    def hop_of_all(count: int) -> Callable[[], object]:
        turn = 0

        def run() -> None:
            nonlocal turn
            while len(streams) < count:  # made when first needed, so that the memory of a point is of its own streams
                streams.append(MelStream(manifest.front_end, manifest.encoder.window_frames))
                streams[-1].push(sounds[len(streams) % len(sounds)])
            turn += 1
            for number, stream in enumerate(streams[:count]):
                new = np.arange(turn * step, (turn + 1) * step)
                stream.push(np.take(sounds[number % len(sounds)], new, mode="wrap"))
                captioner.decode(captioner.encode(stream.window()))

        return run

    return [hop_of_all(count) for count in values]
