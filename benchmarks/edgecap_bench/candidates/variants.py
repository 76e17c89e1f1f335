"""One model in every runtime and every precision: the bundles that are there, and exports of those that are not.

What is exported is kept in `bench` below edgecap's own folder (`edgecap.bundle.models.home`), so that it is exported
once for each set of weights; remove that folder to export anew.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edgecap.bundle.bundle import load_bundle, read_manifest
from edgecap.bundle.manifest import Manifest
from edgecap.bundle.models import home, list_models
from edgecap.errors import BundleError, install_extra
from edgecap.runtimes import RUNTIMES
from edgecap.util.progress import Progress
from edgecap_bench.harness.process import last_line

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Family:
    """A model: the bundles of one set of weights."""

    name: str
    weights: str
    """SHA-256 of the checkpoint they were exported from, as each bundle's provenance says."""
    source: Path
    """What is exported: a bundle with float weights, or a checkpoint."""
    calibration: Path | None = None
    """Recordings for int8, where no ranges are stored with the weights."""
    known: tuple[Path, ...] = ()
    """Bundles that belong to it although their manifests do not say so."""

    def fits(self, manifest: Manifest) -> bool:
        """Whether a bundle holds these weights, with the front end outside of the graph."""
        same = manifest.name == self.name and manifest.provenance.sha256 == self.weights
        return same and manifest.encoder.input == "log_mel"

    def export_folder(self, runtime: str, precision: str) -> Path:
        """Where an export of it is kept."""
        return home() / "bench" / f"{self.name}-{self.weights[:12] or 'unknown'}-{runtime}-{precision}"


def family_of(bundle: Path) -> Family:
    """The family that a bundle belongs to. Raises BundleError."""
    manifest = read_manifest(bundle)
    return Family(manifest.name, manifest.provenance.sha256, bundle)


def digests(manifest: Manifest) -> dict[str, str]:
    """SHA-256 of a bundle's programs by role: equal for two copies of a bundle."""
    return {file.role: file.sha256 for file in manifest.programs}


def find_variants(family: Family, runtimes: Sequence[str], progress: Progress) -> tuple[list[Path], list[str]]:
    """The bundles of a family, in the order of runtimes and precisions, and a line for each that cannot be had."""
    existing = _existing(family)
    bundles: list[Path] = []
    missing: list[str] = []
    wanted = [(runtime, precision) for runtime in runtimes for precision in PRECISIONS]
    for number, (runtime, precision) in enumerate(wanted):
        name, spec = f"{family.name} {runtime} {precision}", RUNTIMES[runtime]
        if not spec.installed:
            missing.append(f"{name}: {spec.packages[0]} is not installed; type: {spec.install_command}")
        elif (runtime, precision) in existing:
            bundles.append(existing[runtime, precision])
        else:
            progress(number, len(wanted), f"exporting {name}")
            fault = _export(family, runtime, precision)
            if fault:
                missing.append(f"{name}: {fault}")
            else:
                bundles.append(family.export_folder(runtime, precision))
    return bundles, missing


def _existing(family: Family) -> dict[tuple[str, str], Path]:
    """Bundles of the family by runtime and precision: the source, exports that were kept, models that are installed."""
    kept = [family.export_folder(runtime, precision) for runtime in RUNTIMES for precision in PRECISIONS]
    sure = [*family.known, *([family.source] if family.source.is_dir() else []), *kept]
    bundles: dict[tuple[str, str], Path] = {}
    for folder in (*sure, *(model.folder for model in list_models())):
        try:
            manifest = read_manifest(folder)
            key = (manifest.runtime, manifest.precision)
            if (folder in sure or family.fits(manifest)) and key not in bundles:
                load_bundle(folder)
                bundles[key] = folder
        except BundleError:
            continue  # it was not named on the command line, so its fault is not reported
    return bundles


def _export(family: Family, runtime: str, precision: str) -> str:
    """Export one bundle by `edgecap export` in a separate process; why it failed, or nothing."""
    if find_spec("torch") is None:
        return f"there is no such bundle, and exporting it needs PyTorch; type: {install_extra('export')}"
    target = family.export_folder(runtime, precision)
    command = [sys.executable, "-P", "-m", "edgecap", "export", str(family.source.absolute()), "--force"]
    command += ["--runtime", runtime, f"--{precision}", "-o", str(target)]
    if precision == "int8" and family.calibration is not None:
        command += ["--calibration", str(family.calibration.absolute())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode == 0 and target.is_dir():
        return ""
    return f"edgecap export failed: {last_line(done.stderr, done.returncode)}"
