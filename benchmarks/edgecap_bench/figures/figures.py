"""The figures that edgecap promises, and how each is measured.

Stages of a caption run in one process that lives long; imports, cold starts and the long file each get new
processes. All are kept on as many cores as they have threads.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import soundfile

from edgecap.bundle.bundle import Bundle, load_bundle
from edgecap.bundle.manifest import Manifest
from edgecap.bundle.models import find_model
from edgecap.captioner import SHORTEST_TAIL_SECONDS
from edgecap.errors import OutputError
from edgecap.types import Waveform
from edgecap_bench.harness.clips import load_clips
from edgecap_bench.harness.processes import Measurement
from edgecap_bench.reports.results import Figure, Settings, Subject, Unit

Progress = Callable[[str, int, int], None]
"""Told what is being measured, how much of it is done, and how much there is."""
TARGETS = {
    "front end": 0.006,
    "caption": 0.045,
    "import edgecap": 0.35,
    "cold start": 2.0,
    "peak memory": 250e6,
    "long file, growth": 4e6,
}
"""At most so many seconds or bytes, for 10 s of sound, one thread of a 2020s x86-64 server, fp32. Of the last,
4 MB is what allocators are allowed for noise: the samples of an hour alone would be 230 MB."""
EXPLANATIONS = {
    "front end": "10 s of samples to log-mel",
    "encoder": "log-mel to cross-attention keys and values",
    "decoder": "beam search with all its decoder steps",
    "decoder step": "the same for each step",
    "caption": "samples to text, all of the above",
    "import edgecap": "`import edgecap` in a new interpreter",
    "import the captioner": "`import edgecap.captioner` in a new interpreter, NumPy included",
    "cold start": "`edgecap caption` of a 10 s file, from the start of the process to its end",
    "peak memory": "resident memory of that process at its highest",
    "long file": "`Captioner.caption_file` over the long file, loading the model included",
    "long file, peak": "resident memory at its highest",
    "long file, growth": "resident memory over the last tenth of it, less that over its second tenth",
}
PROGRAMS = ("encode", "decode", "program")
"""Roles of the files that compute."""
LONG_RATE = 22_050
"""Sample rate of the long file, so that the walk through it resamples."""


@dataclass(frozen=True, kw_only=True)
class FiguresPlan:
    """What to measure, and how often."""

    model: str | None
    clips: Path | None
    rounds: int
    starts: int
    threads: int
    cores: Sequence[int]
    beam: int | None
    long_seconds: int
    """Length of the long file; 0 leaves it out."""


@dataclass
class FiguresRun:
    """What was measured so far."""

    subject: Subject
    settings: Settings
    figures: list[Figure]
    partial: bool = False


def measure(plan: FiguresPlan, progress: Progress) -> FiguresRun:
    """Measure all figures. Ctrl-C ends it with those so far, `partial`; before the first, it is raised.

    Raises EdgecapError for a model, sounds or a process that cannot be used.
    """
    bundle = load_bundle(find_model(plan.model))
    manifest = bundle.manifest
    rate = manifest.front_end.sample_rate
    window = (manifest.encoder.window_frames - 1) * manifest.front_end.hop_length
    sounds = load_clips(plan.clips, rate, window)
    run = Measurement(plan.cores, plan.threads)
    stages = run.run(
        "stages",
        json.dumps(
            {
                "model": plan.model,
                "clips": plan.clips and str(plan.clips),
                "rounds": plan.rounds,
                "threads": plan.threads,
                "beam": plan.beam,
            }
        ),
        progress=lambda done, total: progress("stages", done, total),
    )
    settings = Settings(
        rounds=plan.rounds,
        starts=plan.starts,
        threads=plan.threads,
        beam=plan.beam or manifest.decoder.default_beam,
        clips=stages["clips"],
        steps=stages["steps"],
    )
    measured = FiguresRun(
        subject_of(bundle),
        settings,
        [
            _figure(name, "s", stages[name.replace(" ", "_")])
            for name in ("front end", "encoder", "decoder", "decoder step", "caption")
        ],
    )
    with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as folder:
        try:
            clip = Path(folder) / "clip.wav"
            soundfile.write(clip, sounds[0].samples, rate)
            _starts(plan, run, clip, progress, measured.figures)
            if plan.long_seconds:
                long = Path(folder) / "long.wav"
                write_long(long, [sound.samples for sound in sounds], plan.long_seconds)
                measured.figures += _walk(plan, run, long, manifest, progress)
        except KeyboardInterrupt:
            measured.partial = True
    return measured


def subject_of(bundle: Bundle) -> Subject:
    """What is measured, as a result says it."""
    manifest = bundle.manifest
    return Subject(
        name=manifest.name,
        runtime=manifest.runtime,
        precision=manifest.precision,
        size_bytes=bundle.size,
        sha256={entry.role: entry.sha256 for entry in manifest.files if entry.role in PROGRAMS},
    )


def _starts(plan: FiguresPlan, run: Measurement, clip: Path, progress: Progress, figures: list[Figure]) -> None:
    """New processes, the kinds taking turns; the figures of whole turns are added also where Ctrl-C ends them."""
    command = ["caption", "--threads", str(plan.threads)]
    command += ["--model", plan.model] if plan.model else []
    command += ["--beam", str(plan.beam)] if plan.beam else []
    turns: list[tuple[float, float, float, float]] = []
    try:
        for number in range(plan.starts):
            bare = run.run("import", "edgecap")["seconds"]
            whole = run.run("import", "edgecap.captioner")["seconds"]
            cold = run.run("command", *command, str(clip))
            turns.append((bare, whole, cold["wall_seconds"], float(cold["peak_bytes"])))
            progress("starts", number + 1, plan.starts)
    finally:
        kinds: tuple[tuple[str, Unit], ...] = (
            ("import edgecap", "s"),
            ("import the captioner", "s"),
            ("cold start", "s"),
            ("peak memory", "B"),
        )
        figures += [
            _figure(name, unit, [turn[place] for turn in turns]) for place, (name, unit) in enumerate(kinds) if turns
        ]


def _walk(plan: FiguresPlan, run: Measurement, long: Path, manifest: Manifest, progress: Progress) -> list[Figure]:
    """The long file, once."""
    spec = {
        "model": plan.model,
        "threads": plan.threads,
        "file": str(long),
        "windows": windows_of(manifest, plan.long_seconds),
    }
    walked = run.run("walk", json.dumps(spec), progress=lambda done, total: progress("long file", done, total))
    return [
        _figure("long file", "s", [walked["seconds"][-1]]),
        _figure("long file, peak", "B", [float(walked["peak_bytes"])]),
        _figure("long file, growth", "B", [growth(walked["resident_bytes"])]),
    ]


def windows_of(manifest: Manifest, seconds: int) -> int:
    """How many captions a file of that length gets."""
    window = (manifest.encoder.window_frames - 1) * manifest.front_end.hop_length / manifest.front_end.sample_rate
    return int(seconds // window) + (seconds % window >= SHORTEST_TAIL_SECONDS)


def growth(resident: Sequence[float]) -> float:
    """By how much the median of the last tenth of a series exceeds that of its second tenth.

    The first tenth is left to what is allocated once.
    """
    tenth = max(1, len(resident) // 10)
    return float(median(resident[-tenth:]) - median(resident[tenth : 2 * tenth] or resident[:1]))


def _figure(name: str, unit: Unit, sample: list[float]) -> Figure:
    return Figure(name=name, unit=unit, sample=sample, target=TARGETS.get(name))


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
            f"{seconds * LONG_RATE * 2 / 1e6:.0f} MB: free space, or give --long 0"
        ) from error
