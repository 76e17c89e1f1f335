"""Measures the figures that edgecap promises.

Stages of a caption run in one long-lived process; imports, cold starts and the long file each get new processes. All
are kept on as many cores as they have threads.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import soundfile

from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.manifest import Manifest
from edgecap.bundle.models import find_model
from edgecap.captioner import SHORTEST_TAIL_SECONDS
from edgecap.errors import OutputError
from edgecap.types import Waveform
from edgecap.util.progress import Progress
from edgecap_bench.figures.results import Figure, Figures, Settings, Subject, figure
from edgecap_bench.harness.clips import window_clips
from edgecap_bench.harness.process import Cores, labelled, run_measurement
from edgecap_bench.reports.tables import Unit

LONG_RATE = 22_050
"""Sample rate of the long file, so that the walk through it resamples."""
TASKS = "edgecap_bench.figures.tasks"


@dataclass(frozen=True, kw_only=True)
class FiguresPlan:
    """What to measure, and how often."""

    model: str | None
    clips: Path | None
    rounds: int
    starts: int
    cores: Cores
    beam: int | None
    long_seconds: int
    """Length of the long file; 0 leaves it out."""


def measure_figures(plan: FiguresPlan, progress: Progress) -> tuple[Figures, bool]:
    """Measure all figures; what came of it, and whether it was cut short.

    Ctrl-C ends it with the figures so far; before the first, KeyboardInterrupt is raised. Raises EdgecapError for a
    model, sounds or a process that cannot be used.
    """
    bundle = load_bundle(find_model(plan.model))
    manifest = bundle.manifest
    rate = manifest.front_end.sample_rate
    sounds = window_clips(plan.clips, manifest)
    spec = {
        "model": plan.model,
        "clips": plan.clips and str(plan.clips),
        "rounds": plan.rounds,
        "threads": plan.cores.threads,
        "beam": plan.beam,
    }
    stages = run_measurement(
        "edgecap_bench.figures.stages:stages", spec, cores=plan.cores, progress=labelled(progress, "stages")
    )
    settings = Settings(
        rounds=plan.rounds,
        starts=plan.starts,
        threads=plan.cores.threads,
        beam=plan.beam or manifest.decoder.default_beam,
        clips=stages["clips"],
        steps=stages["steps"],
    )
    names = ("front end", "encoder", "decoder", "decoder step", "caption")
    figures = [figure(name, "s", stages[name.replace(" ", "_")]) for name in names]
    partial = False
    with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as folder:
        try:
            clip = Path(folder) / "clip.wav"
            soundfile.write(clip, sounds[0].samples, rate)
            _starts(plan, clip, progress, figures)
            if plan.long_seconds:
                long = Path(folder) / "long.wav"
                write_long(long, [sound.samples for sound in sounds], plan.long_seconds)
                figures += _long_file(plan, long, manifest, progress)
        except KeyboardInterrupt:
            partial = True
    return Figures(subject=Subject.of(bundle), settings=settings, figures=figures), partial


def _starts(plan: FiguresPlan, clip: Path, progress: Progress, figures: list[Figure]) -> None:
    """New processes, the kinds taking turns; the figures of whole turns are added also where Ctrl-C ends them."""
    command = ["caption", "--threads", str(plan.cores.threads)]
    command += ["--model", plan.model] if plan.model else []
    command += ["--beam", str(plan.beam)] if plan.beam else []
    turns: list[tuple[float, float, float, float]] = []
    try:
        for number in range(plan.starts):
            bare = run_measurement(f"{TASKS}:import_module", "edgecap", cores=plan.cores)
            captioner = run_measurement(f"{TASKS}:import_module", "edgecap.captioner", cores=plan.cores)
            cold = run_measurement(f"{TASKS}:command", *command, str(clip), cores=plan.cores)
            turns.append((bare["seconds"], captioner["seconds"], cold["wall_seconds"], float(cold["peak_bytes"])))
            progress(number + 1, plan.starts, "starts")
    finally:
        kinds: tuple[tuple[str, Unit], ...] = (
            ("import edgecap", "s"),
            ("import the captioner", "s"),
            ("cold start", "s"),
            ("peak memory", "B"),
        )
        if turns:
            figures += [figure(name, unit, [turn[i] for turn in turns]) for i, (name, unit) in enumerate(kinds)]


def _long_file(plan: FiguresPlan, long: Path, manifest: Manifest, progress: Progress) -> list[Figure]:
    """The long file, once."""
    spec = long_file_spec(plan.model, plan.cores.threads, long, manifest, plan.long_seconds)
    walk = run_measurement(f"{TASKS}:long_file", spec, cores=plan.cores, progress=labelled(progress, "long file"))
    return [
        figure("long file", "s", [walk["seconds"][-1]]),
        figure("long file, peak", "B", [float(walk["peak_bytes"])]),
        figure("long file, growth", "B", [growth(walk["resident_bytes"])]),
    ]


def long_file_spec(model: str | None, threads: int, file: Path, manifest: Manifest, seconds: int) -> dict[str, object]:
    """What `edgecap_bench.figures.tasks.long_file` takes."""
    window = (manifest.encoder.window_frames - 1) * manifest.front_end.hop_length / manifest.front_end.sample_rate
    windows = int(seconds // window) + (seconds % window >= SHORTEST_TAIL_SECONDS)
    return {"model": model, "threads": threads, "file": str(file), "windows": windows}


def growth(resident: Sequence[float]) -> float:
    """By how much the median of the last tenth of a series exceeds that of its second tenth.

    The first tenth is left to what is allocated once.
    """
    tenth = max(1, len(resident) // 10)
    return float(median(resident[-tenth:]) - median(resident[tenth : 2 * tenth] or resident[:1]))


def write_long(path: Path, sounds: Sequence[Waveform], seconds: int) -> None:
    """A sound file of `seconds`: the sounds one after the other, each time a little softer, 16 bits. OutputError."""
    try:
        with soundfile.SoundFile(path, "w", LONG_RATE, 1, "PCM_16") as file:
            left, turn = seconds * LONG_RATE, 0
            while left > 0:
                samples = sounds[turn % len(sounds)][:left] * np.float32(0.9 ** (turn // len(sounds) % 20))
                file.write(samples)
                left, turn = left - samples.size, turn + 1
    except (OSError, soundfile.SoundFileError) as error:
        raise OutputError(
            f"the long file cannot be written to {path.parent} ({error}); it takes "
            f"{seconds * LONG_RATE * 2 / 1e6:.0f} MB: free space, or use --long 0"
        ) from error
