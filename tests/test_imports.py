"""The four roots import one way, the runtime stays light, and the public names are the public names."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import edgecap

REPOSITORY = Path(__file__).parent.parent
ROOTS = {"edgecap": "runtime", "edgecap_train": "train", "edgecap_export": "export", "edgecap_bench": "benchmarks"}
"""Package → its folder, from the ground up: each may import those before it."""
HEAVY = {"torch", "transformers", "onnx", "onnxscript", "safetensors", "scipy", "executorch", "litert_torch"}
SLOW = {"numpy", "onnxruntime", "soundfile", "sounddevice", "soxr", "typer", "rich", "msgspec"}


PUBLIC = [
    "AudioError",
    "Beam",
    "Bundle",
    "BundleError",
    "Caption",
    "Captioner",
    "CheckpointError",
    "ConfigError",
    "DeviceError",
    "EdgecapError",
    "Event",
    "IntegrityError",
    "ManifestError",
    "MissingDependencyError",
    "OutputError",
    "ShapeMismatchError",
    "ToleranceError",
    "VerificationError",
    "__version__",
    "listen",
    "load_bundle",
]


def imported(path: Path) -> set[str]:
    """Top-level packages that a module imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


def modules(package: str) -> list[Path]:
    return sorted((REPOSITORY / ROOTS[package] / package).rglob("*.py"))


@pytest.mark.parametrize("package", ROOTS)
def test_imports_point_one_way(package: str) -> None:
    order = list(ROOTS)
    above = set(order[order.index(package) + 1 :])
    found = modules(package)
    assert found
    assert {str(path): sorted(imported(path) & above) for path in found if imported(path) & above} == {}


def test_the_runtime_names_nothing_heavy_but_where_executorch_takes_pytorchs_tensors() -> None:
    # that module is imported when such a bundle is opened, and not before: see the tests below
    heavy = {path.name: imported(path) & HEAVY for path in modules("edgecap") if imported(path) & HEAVY}
    assert heavy == {"executorch_session.py": {"torch", "executorch"}}


def test_onnxruntime_is_imported_in_one_place_which_keeps_it_from_reporting() -> None:
    found = [path for package in ROOTS for path in modules(package) if "onnxruntime" in imported(path)]
    assert found == [REPOSITORY / "runtime" / "edgecap" / "inference" / "onnx_session.py"]


def test_captioning_leaves_nothing_on_disk(tiny_folder: Path, sounds: Path, tmp_path: Path) -> None:
    # ONNX Runtime's reporting keeps an identifier and a queue in these places when it is on.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ORT_") and key != "CI"}
    places = {"HOME": "home", "TMPDIR": "tmp", "XDG_CACHE_HOME": "cache", "XDG_DATA_HOME": "data"}
    for folder in places.values():
        (tmp_path / folder).mkdir()
    environment |= {key: str(tmp_path / folder) for key, folder in places.items()} | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "edgecap", "caption", "--model", str(tiny_folder), str(sounds / "noise.wav")]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert [str(path) for folder in places.values() for path in (tmp_path / folder).rglob("*")] == []


def loaded_by(code: str) -> set[str]:
    """Top-level packages in memory after running `code` in a fresh Python."""
    script = f"{code}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_edgecap_loads_nothing_but_the_standard_library() -> None:
    assert loaded_by("import edgecap") & (HEAVY | SLOW) == set()


def test_captioning_loads_nothing_heavy_and_no_microphone(tiny_folder: Path, sounds: Path) -> None:
    model, sound = str(tiny_folder), str(sounds / "noise.wav")
    loaded = loaded_by(f"import edgecap; list(edgecap.Captioner.load({model!r}).caption_file({sound!r}))")
    assert loaded & HEAVY == set()
    assert {"onnxruntime", "soundfile"} <= loaded
    assert not loaded & {"sounddevice", "typer", "rich"}


def test_the_command_line_loads_nothing_heavy(tiny_folder: Path, sounds: Path) -> None:
    loaded = loaded_by(
        f"from edgecap.cli import run\nrun(['caption', '--model', {str(tiny_folder)!r}, {str(sounds / 'noise.wav')!r}])"
    )
    assert loaded & HEAVY == set()
    assert not loaded & {"sounddevice", "rich"}


def test_every_public_name_is_there_and_no_other() -> None:
    for name in edgecap.__all__:
        assert getattr(edgecap, name) is not None
    assert sorted(edgecap.__all__) == dir(edgecap) == PUBLIC
    with pytest.raises(AttributeError, match="no attribute 'Captain'"):
        edgecap.Captain  # noqa: B018
