"""How the cost of captions grows with the work: length of the sound, beams, streams at once, threads.

Each curve is taken in a separate process, its points in turns (shortest, …, longest, shortest, …). Beams and threads
are compared at the same number of generated tokens; long sounds and streams get the captions that they get.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import soundfile

from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.manifest import Manifest
from edgecap.bundle.models import find_model
from edgecap.captioner import Captioner
from edgecap.live.pipeline.stream import MelStream
from edgecap.types import Waveform
from edgecap.util.progress import Progress
from edgecap_bench.candidates.bundle_runner import BundleRunner
from edgecap_bench.candidates.runner import HOP_SECONDS, Candidate
from edgecap_bench.comparison.comparison import start_candidate
from edgecap_bench.figures.figures import TASKS, growth, long_file_spec, write_long
from edgecap_bench.figures.results import Subject
from edgecap_bench.harness.board_state import read_state
from edgecap_bench.harness.child import Channel, memory
from edgecap_bench.harness.clips import window_clips
from edgecap_bench.harness.energy import find_meter
from edgecap_bench.harness.process import Cores, labelled, run_measurement
from edgecap_bench.scaling.results import Curve, CurveName, Growth, Hour, Point

LENGTHS: tuple[int, ...] = (1, 2, 5, 10, 20, 60, 120, 300, 600)
"""Seconds of sound."""
BEAMS = tuple(range(1, 9))
STREAMS: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
HOUR_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class GrowthPlan:
    """What to let grow."""

    model: str | None
    clips: Path | None
    rounds: int
    tokens: int
    cores: Cores
    all_cores: Cores
    hour_seconds: int = HOUR_SECONDS
    """Length of the long file; less for a trial, 0 leaves it out."""


def measure_growth(plan: GrowthPlan, progress: Progress) -> tuple[Growth, bool]:
    """All curves and the hour; what came of it, and whether it was cut short.

    Ctrl-C ends it with the whole curves so far; before the first, KeyboardInterrupt is raised. Raises EdgecapError for
    a model or for sounds that cannot be used.
    """
    bundle = load_bundle(find_model(plan.model))
    manifest = bundle.manifest
    sounds = window_clips(plan.clips, manifest)
    most = manifest.decoder.beams or BEAMS[-1]
    tokens = min(plan.tokens, manifest.decoder.max_tokens)
    left_out = []
    wanted: list[tuple[CurveName, tuple[int, ...]]] = [("length", LENGTHS), ("beams", BEAMS[:most])]
    if manifest.encoder.input == "log_mel":
        wanted.append(("streams", STREAMS))
    else:
        left_out.append("streams: the front end is part of this model's graph, so no frame can be kept")
    if most < BEAMS[-1]:
        left_out.append(f"more than {most} beams: this model's decoder is fixed to them")
    before, curves, hour, energy, interrupted = read_state(), [], None, "", False
    try:
        for name, values in wanted:
            curves.append(_curve(plan, name, values, tokens, labelled(progress, name)))
        curves.append(_threads(plan, min(3, most), tokens, progress))
        if plan.hour_seconds:
            hour, energy = _hour(plan, manifest, [sound.samples for sound in sounds], labelled(progress, "an hour"))
    except KeyboardInterrupt:
        if not curves:
            raise
        interrupted = True
    result = Growth(
        subject=Subject.of(bundle),
        threads=plan.cores.threads,
        rounds=plan.rounds,
        tokens=plan.tokens,
        clips=[sound.name for sound in sounds],
        curves=curves,
        hour=hour,
        before=before,
        after=read_state(),
        energy=energy,
        left_out=left_out,
    )
    return result, interrupted


@dataclass(frozen=True, kw_only=True)
class CurveSpec:
    """What a child measures for one curve."""

    curve: CurveName
    values: Sequence[int]
    model: str | None
    clips: str | None
    rounds: int
    threads: int
    tokens: int

    def sounds(self, manifest: Manifest) -> list[Waveform]:
        """The clips for a model."""
        return [clip.samples for clip in window_clips(Path(self.clips) if self.clips else None, manifest)]


def _curve(plan: GrowthPlan, name: CurveName, values: Sequence[int], tokens: int, progress: Progress) -> Curve:
    """One curve, in a separate process."""
    spec = CurveSpec(
        curve=name,
        values=values,
        model=plan.model,
        clips=str(plan.clips) if plan.clips else None,
        rounds=plan.rounds,
        threads=plan.cores.threads,
        tokens=tokens,
    )
    target = "edgecap_bench.scaling.growth:curve"
    answer = run_measurement(target, asdict(spec), cores=plan.cores, progress=progress)
    return Curve(name=name, points=[Point(**point) for point in answer["points"]])


def _hour(plan: GrowthPlan, manifest: Manifest, sounds: Sequence[Waveform], progress: Progress) -> tuple[Hour, str]:
    """An hour of audio from a file: its time, processor time, energy, and the memory window by window; what counted
    the energy.
    """
    meter = find_meter()
    with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as folder:
        file = Path(folder) / "hour.wav"
        write_long(file, sounds, plan.hour_seconds)
        spec = long_file_spec(plan.model, plan.cores.threads, file, manifest, plan.hour_seconds)
        if meter:
            meter.start()
        walk = run_measurement(f"{TASKS}:long_file", spec, cores=plan.cores, progress=progress)
        joules = meter.stop() if meter else None
    hour = Hour(
        audio_seconds=plan.hour_seconds,
        seconds=walk["seconds"][-1],
        processor_seconds=walk["processor_seconds"],
        joules=joules,
        resident_bytes=walk["resident_bytes"],
        growth_bytes=growth(walk["resident_bytes"]),
    )
    return hour, meter.source if meter else ""


def _threads(plan: GrowthPlan, beam: int, tokens: int, progress: Progress) -> Curve:
    """One process for each number of threads, taking turns."""
    model = Candidate(key="model", kind="bundle", path=str(find_model(plan.model)))
    cores = plan.all_cores.numbers
    several = [Cores(cores[-threads:], threads) for threads in range(1, len(cores) + 1)] or [plan.cores]
    with ExitStack() as stack:
        processes = []
        for each in several:
            process = start_candidate(model, each, beam=beam, tokens=tokens, clips=plan.clips)
            processes.append(stack.enter_context(process))
            process.result()
        turns = []
        for number in range(plan.rounds):
            progress(number, plan.rounds, "threads")
            turns.append([process.request("turn", number) for process in processes])
    points = [
        Point(
            x=each.threads,
            seconds=[turn[place]["stages"]["caption"] for turn in turns],
            resident_bytes=max(turn[place]["peak_bytes"] for turn in turns),
        )
        for place, each in enumerate(several)
    ]
    return Curve(name="threads", points=points)


def curve(channel: Channel, spec: str) -> dict[str, Any]:
    """One curve in a child: every value once a round, in turns; the points as `Point` has them.

    `spec` is a `CurveSpec` in JSON.
    """
    options = msgspec.json.decode(spec, type=CurveSpec)
    make = {"length": _of_length, "beams": _of_beams, "streams": _of_streams}[options.curve]
    points: list[dict[str, Any]] = [{"x": value, "seconds": [], "resident_bytes": 0} for value in options.values]
    with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as folder:
        runs = make(options, Path(folder))
        for turn in range(-1, options.rounds):  # the first turn warms up
            for point, run in zip(points, runs, strict=True):
                begin = time.perf_counter()
                run()
                seconds = time.perf_counter() - begin
                if turn >= 0:
                    point["seconds"].append(seconds)
                else:  # the least work comes first, so this is what more work adds
                    point["resident_bytes"] = memory("VmRSS")
            channel.progress(turn + 2, options.rounds + 1)
    return {"points": points}


Runs = list[Callable[[], object]]


def _of_length(spec: CurveSpec, folder: Path) -> Runs:
    """Files of each length, captioned as `edgecap caption` does."""
    captioner = Captioner.load(spec.model, threads=spec.threads)
    rate = captioner.manifest.front_end.sample_rate
    joined = np.concatenate(spec.sounds(captioner.manifest))
    for seconds in spec.values:
        soundfile.write(folder / f"{seconds}.wav", np.resize(joined, seconds * rate), rate, subtype="PCM_16")

    def caption(seconds: int) -> None:
        for _ in captioner.caption_file(folder / f"{seconds}.wav"):
            pass

    return [partial(caption, seconds) for seconds in spec.values]


def _of_beams(spec: CurveSpec, folder: Path) -> Runs:
    """One clip, each number of beams, the same number of tokens."""
    runner = BundleRunner(find_model(spec.model), spec.threads)
    samples = spec.sounds(runner.manifest)[0]

    def caption(beam: int) -> None:
        runner.decode(runner.encode(runner.front_end(samples)), beam, spec.tokens)

    return [partial(caption, beam) for beam in spec.values]


def _of_streams(spec: CurveSpec, folder: Path) -> Runs:
    """So many streams in one process, one model for all: a hop of each."""
    captioner = Captioner.load(spec.model, threads=spec.threads)
    manifest = captioner.manifest
    sounds = spec.sounds(manifest)
    step = round(HOP_SECONDS * manifest.front_end.sample_rate)
    streams: list[MelStream] = []
    turns: Counter[int] = Counter()

    def hop_of_all(count: int) -> None:
        while len(streams) < count:  # no earlier: a point has the memory of its own streams
            streams.append(MelStream(manifest.front_end, manifest.encoder.window_frames))
            streams[-1].push(sounds[len(streams) % len(sounds)])
        turns[count] += 1
        new = np.arange(turns[count] * step, (turns[count] + 1) * step)
        for number, stream in enumerate(streams[:count]):
            stream.push(np.take(sounds[number % len(sounds)], new, mode="wrap"))
            captioner.decode(captioner.encode(stream.window()))

    return [partial(hop_of_all, count) for count in spec.values]
