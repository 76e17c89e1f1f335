"""Which candidates take part: published models with random weights, and bundles in their runtimes and precisions."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from edgecap.bundle.bundle import load_bundle, read_manifest
from edgecap.bundle.models import find_model, list_models
from edgecap.captioner import Captioner
from edgecap.errors import BundleError, EdgecapError
from edgecap.util.progress import Progress
from edgecap_bench.candidates.runner import Candidate
from edgecap_bench.candidates.variants import Family, digests, family_of, find_variants
from edgecap_bench.harness.clips import made_clips
from edgecap_bench.harness.process import Cores, run_measurement

CALIBRATION_RATE, CALIBRATION_SECONDS = 16_000, 10
REFERENCE_BUNDLE = "effb2-trm"
"""The published student's architecture, in edgecap's own bundles."""


@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """What to compare, and how."""

    models: tuple[str | None, ...]
    """Bundles: folders or names, None for the one inside the package."""
    teacher: bool = False
    reference: bool = False
    runtimes: tuple[str, ...] = ()
    """Each model is also taken in these runtimes and every precision, exported where it is not there."""
    clips: Path | None
    rounds: int
    tokens: int
    beam: int
    cores: Cores
    all_cores: Cores
    """For the throughput with all threads."""


@dataclass
class Selection:
    """The candidates, and who is missing."""

    candidates: list[Candidate] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """A line for each bundle that cannot take part."""
    export_seconds: float = 0.0

    def add_bundle(self, bundle: Path, *, optional: bool = False, random_weights: bool = False) -> None:
        """Add a bundle under a key that is free. Raises BundleError."""
        manifest = load_bundle(bundle).manifest
        words = [manifest.name]
        words += [manifest.runtime] if manifest.runtime != "onnx" else []
        words += [manifest.precision] if manifest.precision != "fp32" else []
        key, taken = " ".join(words), {candidate.key for candidate in self.candidates}
        free = next(name for name in (key, *(f"{key} ({n})" for n in range(2, 99))) if name not in taken)
        self.candidates.append(
            Candidate(key=free, kind="bundle", path=str(bundle), optional=optional, random_weights=random_weights)
        )

    def add_variants(
        self, family: Family, runtimes: Sequence[str], progress: Progress, *, random_weights: bool = False
    ) -> None:
        """Add the other runtimes and precisions of a model, but for copies of bundles that take part already."""
        bundles, missing = find_variants(family, runtimes, progress)
        taken = {Path(candidate.path).resolve() for candidate in self.candidates if candidate.kind == "bundle"}
        graphs = [digests(read_manifest(path)) for path in taken]
        for bundle in bundles:
            if bundle.resolve() not in taken and digests(read_manifest(bundle)) not in graphs:
                self.add_bundle(bundle, optional=True, random_weights=random_weights)
        self.left_out += missing


def select_candidates(plan: ComparisonPlan, folder: Path, progress: Progress) -> Selection:
    """The candidates; the published models are made in `folder` first, up to 1.5 GB. Raises EdgecapError."""
    bundles = [find_model(model) for model in plan.models]
    for bundle in bundles:  # a broken one is reported before minutes are spent on the others
        load_bundle(bundle)
    selection = Selection()
    families: list[tuple[Family, bool]] = []
    if plan.teacher:
        progress(0, None, "a teacher with random weights is written and exported")
        checkpoint, graphs = folder / "teacher.safetensors", folder / "teacher"
        _make_weights("teacher", checkpoint, graphs, plan)
        selection.candidates += [
            Candidate(key="teacher", kind="teacher", path=str(checkpoint), random_weights=True),
            Candidate(key="teacher-onnx", kind="teacher-onnx", path=str(graphs), random_weights=True),
        ]
    if plan.reference:
        progress(0, None, "a student with random weights is written and exported")
        checkpoint, bundle = folder / f"{REFERENCE_BUNDLE}.safetensors", folder / REFERENCE_BUNDLE
        _make_weights("student", checkpoint, bundle, plan)
        selection.candidates.append(
            Candidate(key="reference", kind="reference", path=str(checkpoint), random_weights=True)
        )
        selection.add_bundle(bundle, random_weights=True)
        if plan.runtimes:
            weights = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
            sounds = plan.clips or _calibration_sounds(folder / "sounds")
            families.append((Family(REFERENCE_BUNDLE, weights, checkpoint, sounds, (bundle,)), True))
    for bundle in bundles:
        selection.add_bundle(bundle)
    if plan.runtimes:
        begin = time.monotonic()
        families += [(family_of(bundle), False) for bundle in bundles]
        for family, random_weights in families:
            selection.add_variants(family, plan.runtimes, progress, random_weights=random_weights)
        selection.export_seconds = time.monotonic() - begin
    return selection


def runnable_models() -> tuple[list[str], list[str]]:
    """Folders of all models that load here, and a line for each that does not. Raises BundleError where none does."""
    folders: list[str] = []
    left_out: list[str] = []
    seen: set[tuple[str, ...]] = set()
    for model in list_models():
        if model.manifest is None:
            left_out.append(f"{model.name}: {model.fault}")
            continue
        programs = tuple(sorted(file.sha256 for file in model.manifest.files))
        if programs in seen:  # the same model in the package and in the user's folder
            continue
        seen.add(programs)
        try:
            Captioner.load(model.folder, threads=1)
        except EdgecapError as error:
            left_out.append(f"{model.name}: {error}")
            continue
        folders.append(str(model.folder))
    if not folders:
        raise BundleError("none of the installed models can run here; edgecap models lists them and says why")
    return folders, left_out


def _calibration_sounds(folder: Path) -> Path:
    """The made clips as files, to calibrate the int8 of random weights on."""
    folder.mkdir()
    for clip in made_clips(CALIBRATION_RATE, CALIBRATION_RATE * CALIBRATION_SECONDS):
        soundfile.write(folder / f"{clip.name}.wav", clip.samples, CALIBRATION_RATE)
    return folder


def _make_weights(kind: str, checkpoint: Path, folder: Path, plan: ComparisonPlan) -> None:
    """In a separate process, which gives back the memory; it is not measured and may use any core."""
    threads = plan.cores.threads
    run_measurement(
        "edgecap_bench.candidates.serve:make_weights",
        {"kind": kind, "checkpoint": str(checkpoint), "folder": str(folder), "tokens": plan.tokens, "threads": threads},
        cores=Cores((), threads),
    )
