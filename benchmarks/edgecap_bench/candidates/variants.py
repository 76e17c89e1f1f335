"""One model in every runtime and every precision: the bundles that are there, and exports of those that are not.

What is exported is kept in `bench` below edgecap's own folder (`edgecap.bundle.models.home`), so that it is exported
once for each set of weights; remove that folder to export anew.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edgecap.bundle.bundle import load_bundle, read_manifest
from edgecap.bundle.manifest import Manifest
from edgecap.bundle.models import home, list_models
from edgecap.errors import BundleError

RUNTIMES = ("onnx", "executorch", "litert")
PRECISIONS = ("fp32", "fp16", "int8")
RUNS_WITH = {"onnx": ("onnxruntime",), "executorch": ("executorch",), "litert": ("ai_edge_litert", "tflite_runtime")}
"""Modules of which one must be there to run a bundle of that runtime."""
EXPORTS_WITH = {
    "onnx": ("torch", "onnx", "onnxscript"),
    "executorch": ("torch", "executorch"),
    "litert": ("torch", "litert_torch"),
}
"""Modules that must all be there to export for that runtime."""
Told = Callable[[str, int, int], None]


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
    """Bundles that are of it although they do not say so."""

    def fits(self, manifest: Manifest) -> bool:
        """Whether a bundle holds these weights, for any length of sound of the outside front end."""
        same = manifest.name == self.name and manifest.provenance.sha256 == self.weights
        return same and manifest.encoder.input == "log_mel"

    def kept(self, runtime: str, precision: str) -> Path:
        """Where an export of it is kept."""
        return home() / "bench" / f"{self.name}-{self.weights[:12] or 'unknown'}-{runtime}-{precision}"


def family_of(bundle: Path) -> Family:
    """The family that a bundle belongs to. Raises BundleError."""
    manifest = read_manifest(bundle)
    return Family(manifest.name, manifest.provenance.sha256, bundle)


def variants(family: Family, runtimes: tuple[str, ...], told: Told) -> tuple[list[Path], list[str]]:
    """The bundles of a family, in the order of runtimes and precisions, and a line for each that cannot be had."""
    there = _there(family)
    found: list[Path] = []
    missing: list[str] = []
    wanted = [(runtime, precision) for runtime in runtimes for precision in PRECISIONS]
    for number, (runtime, precision) in enumerate(wanted):
        what = f"{family.name} {runtime} {precision}"
        if not any(find_spec(module) for module in RUNS_WITH[runtime]):
            missing.append(f'{what}: {RUNS_WITH[runtime][0]} is not installed; type: pip install "edgecap[{runtime}]"')
        elif (runtime, precision) in there:
            found.append(there[runtime, precision])
        else:
            told(f"exporting {what}", number, len(wanted))
            fault = _export(family, runtime, precision)
            if fault:
                missing.append(f"{what}: {fault}")
            else:
                found.append(family.kept(runtime, precision))
    return found, missing


def _there(family: Family) -> dict[tuple[str, str], Path]:
    """Bundles of the family by runtime and precision: the source, models that are installed, exports that were kept."""
    kept = [family.kept(runtime, precision) for runtime in RUNTIMES for precision in PRECISIONS]
    sure = [*family.known, *([family.source] if family.source.is_dir() else []), *kept]
    found: dict[tuple[str, str], Path] = {}
    for folder in (*sure, *(model.folder for model in list_models())):
        try:
            manifest = read_manifest(folder)
            kind = (manifest.runtime, manifest.precision)
            if (folder in sure or family.fits(manifest)) and kind not in found:
                load_bundle(folder)
                found[kind] = folder
        except BundleError:
            continue  # nobody named it, so it is none of the comparison's business
    return found


def _export(family: Family, runtime: str, precision: str) -> str:
    """Export one bundle by `edgecap export` in a process of its own; why not, or nothing."""
    lacks = [module for module in EXPORTS_WITH[runtime] if find_spec(module) is None]
    if lacks:
        extra = "export" if runtime == "onnx" else f"export-{runtime}"
        return f'not here, and exporting it needs {", ".join(lacks)}; type: pip install "edgecap[{extra}]"'
    target = family.kept(runtime, precision)
    command = [
        sys.executable,
        "-P",
        "-m",
        "edgecap",
        "export",
        str(family.source.absolute()),
        "--runtime",
        runtime,
        f"--{precision}",
        "--force",
        "-o",
        str(target),
    ]
    if precision == "int8" and family.calibration is not None:
        command += ["--calibration", str(family.calibration.absolute())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode == 0 and target.is_dir():
        return ""
    last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    return f"edgecap export failed: {last[0].removeprefix('edgecap: error: ')}"
