"""Where an export starts: a checkpoint, or a bundle that contains its float weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from edgecap.bundle.bundle import MANIFEST_NAME, Bundle, BundleContent, load_bundle
from edgecap.bundle.manifest import Licence, Provenance, SilenceSpec
from edgecap.bundle.models import find_model
from edgecap.bundle.vocabulary import Vocabulary
from edgecap.errors import BundleError, ConfigError
from edgecap_export.bundle.bundles import created_by
from edgecap_export.output_paths import model_name
from edgecap_export.quantisation.ranges import FILE_NAME as RANGES
from edgecap_export.quantisation.ranges import Ranges, parse_ranges, weights_digest
from edgecap_train.checkpoints.checkpoint import SavedStudent, load_checkpoint, load_student, save_student
from edgecap_train.models.student import Student

WEIGHTS = "student.safetensors"
CHECKPOINTS = {".safetensors", ".bin", ".pth", ".pt"}
PUBLISHED_LICENCE = "Apache-2.0"
"""What the authors publish their students under."""
PUBLISHED_NOTICE = "Weights by Xu, Liu, Wu, Wang and Plumbley (Interspeech 2024), changed in form only."


@dataclass(frozen=True)
class ExportSource:
    """A student with everything that its bundles say about it."""

    student: Student
    vocabulary: Vocabulary
    name: str
    licence: Licence
    provenance: Provenance
    silence: SilenceSpec | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    card: str | None = None
    ranges: Ranges | None = None
    notes: tuple[str, ...] = ()
    confidence: bytes | None = None
    """`confidence.json` of the bundle that it came from: it belongs to the weights, whatever runs them."""
    floats: tuple[BundleContent, ...] = ()
    """The float weights and their ranges as the bundle has them that it came from; exports contain them, too."""


def open_source(model: str | None, vocabulary: Path | None = None, *, floats: bool = False) -> ExportSource:
    """A checkpoint's file or folder, or a bundle's folder or name; the default model for None.

    `floats`: exports are to contain the bundle's float weights. Raises CheckpointError, ConfigError where a checkpoint
    has none to keep, and BundleError for a bundle without float weights.
    """
    if model is not None:
        path = Path(model).expanduser()
        if path.suffix in CHECKPOINTS or (path.is_dir() and not (path / MANIFEST_NAME).is_file()):
            if floats:
                raise ConfigError("--weights keeps those of a bundle; first type: edgecap import --weights")
            return checkpoint_source(load_checkpoint(path, vocabulary))
    source = _bundle_source(load_bundle(find_model(model)))
    return source if floats else replace(source, floats=())


def checkpoint_source(saved: SavedStudent) -> ExportSource:
    """What bundles of an imported checkpoint say."""
    details = dict(saved.metadata)
    if saved.notes:
        details["assumed"] = " ".join(saved.notes)
    origin = f"the published student in {saved.path.name}" if saved.published else f"own training, {saved.path.name}"
    licence = (
        Licence(name=PUBLISHED_LICENCE, notice=PUBLISHED_NOTICE)
        if saved.published
        else (Licence(name=saved.metadata.get("licence", "unstated")))
    )
    provenance = Provenance(source=origin, sha256=saved.sha256, created_by=created_by(), details=details)
    name = model_name(saved.path.resolve().parent.name if saved.published else saved.path.stem)
    return ExportSource(
        saved.student, saved.vocabulary, name, licence, provenance, metrics=numbers(saved.metadata), notes=saved.notes
    )


def numbers(metadata: Mapping[str, str]) -> dict[str, float]:
    """The metrics in a checkpoint's metadata: every entry that is a finite number."""
    metrics = {}
    for name, text in metadata.items():
        try:
            value = float(text)
        except ValueError:
            continue
        if value - value == 0:
            metrics[name] = value
    return metrics


def half_weights(student: Student, vocabulary: Vocabulary, metadata: Mapping[str, str]) -> bytes:
    """The student as one float16 `.safetensors`, to travel in a bundle."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / WEIGHTS
        save_student(path, copy.deepcopy(student).half(), vocabulary, metadata)
        return path.read_bytes()


def _bundle_source(bundle: Bundle) -> ExportSource:
    manifest = bundle.manifest
    files = {entry.role: bundle.folder / entry.name for entry in manifest.files}
    if "weights" not in files:
        raise BundleError(
            f"{bundle.folder} contains no float weights to export from; name the checkpoint it was made of, "
            "or make the bundle again with edgecap import --weights"
        )
    saved = load_student(files["weights"])
    stored = bundle.folder / RANGES
    ranges = parse_ranges(stored.read_bytes()) if stored.name in {entry.name for entry in manifest.files} else None
    if ranges is not None and ranges.weights != weights_digest(saved.student.state_dict()):
        raise BundleError(f"{stored} was measured on other weights; give --calibration FOLDER")
    card = files["card"].read_text(encoding="utf-8") if "card" in files else None
    return ExportSource(
        saved.student,
        bundle.vocabulary,
        manifest.name,
        manifest.licence,
        manifest.provenance,
        manifest.silence,
        manifest.metrics,
        card,
        ranges,
        confidence=files["confidence"].read_bytes() if "confidence" in files else None,
        floats=(
            BundleContent(WEIGHTS, "weights", files["weights"].read_bytes()),
            *([BundleContent(RANGES, "other", stored.read_bytes())] if ranges is not None else []),
        ),
    )
