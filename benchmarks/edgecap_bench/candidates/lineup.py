"""Who takes part in a comparison: stand-ins for the published models, and bundles."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile

from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import find_model
from edgecap_bench.candidates.runners import Candidate
from edgecap_bench.candidates.variants import Family, family_of, variants
from edgecap_bench.figures.figures import PROGRAMS
from edgecap_bench.harness.clips import made_clips
from edgecap_bench.harness.workers import MeasurementProcess

Progress = Callable[[str, int, int], None]
CALIBRATION_RATE, CALIBRATION_SECONDS = 16_000, 10
STAND_IN = "effb2-trm"
"""The published student's architecture, in edgecap's own bundles."""


@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """Whom to compare, and how."""

    models: tuple[str | None, ...]
    """Bundles: folders or names, None for the one inside the package."""
    teacher: bool = False
    reference: bool = False
    tagger: bool = False
    runtimes: tuple[str, ...] = ()
    """Each model is also taken in these runtimes and every precision, exported where it is not there."""
    clips: Path | None
    rounds: int
    tokens: int
    beam: int
    threads: int
    cores: Sequence[int]
    all_cores: Sequence[int] = ()
    """For the throughput with all threads; empty leaves it out."""


@dataclass
class LineUp:
    """The contestants, and who is missing."""

    entries: list[Candidate] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    export_seconds: float = 0.0

    def add_bundle(self, bundle: Path, *, optional: bool = False, stand_in: bool = False) -> None:
        """Add a bundle under a key that is free. Raises BundleError."""
        manifest = load_bundle(bundle).manifest
        words = [
            manifest.name,
            *([manifest.runtime] if manifest.runtime != "onnx" else []),
            *([manifest.precision] if manifest.precision != "fp32" else []),
        ]
        key, taken = " ".join(words), {entry.key for entry in self.entries}
        free = next(name for name in (key, *(f"{key} ({n})" for n in range(2, 99))) if name not in taken)
        self.entries.append(Candidate(key=free, kind="bundle", path=str(bundle), optional=optional, stand_in=stand_in))


def line_up(plan: ComparisonPlan, folder: Path, progress: Progress, clock: Callable[[], float]) -> LineUp:
    """The contestants, published models' stand-ins made first into `folder`. Raises EdgecapError."""
    bundles = [find_model(model) for model in plan.models]
    for bundle in bundles:  # said before minutes are spent on the others
        load_bundle(bundle)
    found = LineUp()
    if plan.teacher:
        progress("writing and exporting a teacher with random weights", 0, 0)
        checkpoint, graphs = folder / "teacher.safetensors", folder / "teacher"
        _make({"what": "teacher", "checkpoint": str(checkpoint), "graphs": str(graphs), "tokens": plan.tokens}, plan)
        found.entries += [
            Candidate(key="teacher", kind="teacher", path=str(checkpoint), stand_in=True),
            Candidate(key="teacher-onnx", kind="teacher-onnx", path=str(graphs), stand_in=True),
        ]
    families: list[tuple[Family, bool]] = []
    if plan.reference:
        progress("writing and exporting a student with random weights", 0, 0)
        checkpoint, bundle = folder / f"{STAND_IN}.safetensors", folder / STAND_IN
        _make({"what": "student", "checkpoint": str(checkpoint), "bundle": str(bundle)}, plan)
        found.entries.append(Candidate(key="reference", kind="reference", path=str(checkpoint), stand_in=True))
        found.add_bundle(bundle, stand_in=True)
        if plan.runtimes:
            weights = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
            families.append((Family(STAND_IN, weights, checkpoint, _sounds(folder, plan.clips), (bundle,)), True))
    if plan.tagger:
        progress("exporting a tagger with random weights", 0, 0)
        _make({"what": "tagger", "folder": str(folder / "tagger")}, plan)
        found.entries.append(Candidate(key="tagger", kind="tagger", path=str(folder / "tagger"), stand_in=True))
    for bundle in bundles:
        found.add_bundle(bundle)
    if plan.runtimes:
        begin = clock()
        families += [(family_of(bundle), False) for bundle in bundles]
        for family, stand_in in families:
            _add_variants(found, family, stand_in, plan, progress)
        found.export_seconds = clock() - begin
    return found


def _add_variants(found: LineUp, family: Family, stand_in: bool, plan: ComparisonPlan, progress: Progress) -> None:
    there, missing = variants(family, plan.runtimes, progress)
    taken = {Path(entry.path).resolve() for entry in found.entries}
    digests = {_graphs(path) for path in taken if (path / "manifest.json").is_file()}
    for bundle in there:
        if bundle.resolve() not in taken and _graphs(bundle) not in digests:
            found.add_bundle(bundle, optional=True, stand_in=stand_in)
    found.left_out += missing


def _graphs(bundle: Path) -> tuple[tuple[str, str], ...]:
    """What a bundle computes: equal for two copies of it."""
    return tuple(sorted(digests(bundle).items()))


def digests(bundle: Path) -> dict[str, str]:
    """SHA-256 of a bundle's programs by role. Raises BundleError."""
    files = load_bundle(bundle).manifest.files
    return {entry.role: entry.sha256 for entry in files if entry.role in PROGRAMS}


def _sounds(folder: Path, clips: Path | None) -> Path:
    """A folder to calibrate the stand-in's int8 on: the clips asked for, or the made ones written out."""
    if clips is not None:
        return clips
    target = folder / "sounds"
    target.mkdir()
    for clip in made_clips(CALIBRATION_RATE, CALIBRATION_RATE * CALIBRATION_SECONDS):
        soundfile.write(target / f"{clip.name}.wav", clip.samples, CALIBRATION_RATE)
    return target


def _make(spec: dict[str, Any], plan: ComparisonPlan) -> None:
    with MeasurementProcess(
        "make", {"threads": plan.threads, **spec}, [], plan.threads
    ) as worker:  # not measured: any core
        worker.answer()


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Where stand-ins are written: up to 1.5 GB, gone afterwards."""
    return tempfile.TemporaryDirectory(prefix="edgecap-bench-")
