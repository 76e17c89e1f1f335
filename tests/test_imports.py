"""The shape of the source: which way imports point, what is loaded, the public names, and the size of modules."""

from __future__ import annotations

import graphlib
import os
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

import edgecap
from support.source_tree import (
    REPOSITORY,
    ROOTS,
    all_modules,
    edges,
    imports,
    modules,
    public_classes,
    top_level_imports,
    variables,
)

ORDER = {
    package: names.split()
    for package, names in {
        "edgecap": """_version errors types util audio runtimes bundle in_words caption confidence inference sounds
            captioner batching teaching cluster pull live.clocks live.config live.sources live.events live.pipeline
            live.sinks archive archive_search live.thermal live.watchdog web live.loop live.threads live.listener
            live.adjusting live.named_listener live.session live.api live.__init__ __init__ doctor service cli
            __main__""",
        "edgecap_train": """__init__ text models checkpoints teachers data evaluation confidence training distill
            teacher_training study cli""",
        "edgecap_export": """__init__ recipes calibration output_paths graphs quantisation runtimes onnx litert
            executorch bundle web cli""",
        "edgecap_bench": """__init__ harness reports counting candidates figures profiling comparison scaling quality
            boards alarms sounds live faults arm report commands cli""",
    }.items()
}
"""Package → its sub-packages and modules, each of which may import from itself and from those before it.

A new sub-package is entered here, at the place from which it imports.
"""
CATCH_ALL = {"found", "told", "mine", "whole", "have"}
"""Names that do not say what a variable holds."""
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


def entry(module: str) -> str:
    """The sub-package or module of ORDER that a module belongs to, with its package's name before it."""
    package, _, name = module.partition(".")
    candidates = [f"{name}.__init__".lstrip("."), name, *(name[:end] for end, sign in enumerate(name) if sign == ".")]
    for candidate in candidates:
        if candidate in ORDER[package]:
            return f"{package}.{candidate}"
    raise AssertionError(f"{module} belongs to no entry of ORDER in tests/test_imports.py; add its sub-package there")


@pytest.mark.parametrize("package", ROOTS)
def test_packages_import_one_way(package: str) -> None:
    order = list(ROOTS)
    above = set(order[order.index(package) + 1 :])
    upward = {name: sorted(top_level_imports(path) & above) for name, path in modules(package).items()}
    assert {name: targets for name, targets in upward.items() if targets} == {}


@pytest.mark.parametrize("package", ROOTS)
def test_sub_packages_import_only_earlier_ones(package: str) -> None:
    order = {f"{package}.{name}": index for index, name in enumerate(ORDER[package])}
    upward = [f"{start} -> {end}" for start, end in edges(package) if order[entry(start)] < order[entry(end)]]
    assert upward == []


@pytest.mark.parametrize("package", ROOTS)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for module, target in edges(package):
        graph[module].add(target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}", pytrace=False)


@pytest.mark.parametrize("package", ROOTS)
def test_the_order_names_only_what_exists(package: str) -> None:
    names = {f"{package}.{name}".removesuffix(".__init__") for name in ORDER[package]}
    assert sorted(names - modules(package).keys()) == []


def test_what_is_left_out_of_the_wheel_is_not_needed_by_what_is_in_it() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    left_out = [REPOSITORY / path for path in project["tool"]["hatch"]["build"]["targets"]["wheel"]["exclude"]]
    assert [str(path) for path in left_out if not path.exists()] == []
    out = {name for name, path in all_modules().items() if any(path.is_relative_to(folder) for folder in left_out)}
    importing = {name for name in all_modules().keys() - out if imports(all_modules()[name]) & out}
    # that command looks for its folder first, and says where to find it
    assert importing == {"edgecap_train.cli.study"}


def test_no_public_class_name_means_two_things() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module, path in all_modules().items():
        for name in public_classes(path):
            places[name].append(module)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_modules_are_short_and_folders_small() -> None:
    long = {name for name, path in all_modules().items() if len(path.read_text(encoding="utf-8").splitlines()) > 300}
    assert sorted(long) == []
    folders: dict[Path, int] = defaultdict(int)
    for path in [*all_modules().values(), *(REPOSITORY / "tests").rglob("*.py")]:
        folders[path.parent] += path.name != "__init__.py"
    assert {str(folder): count for folder, count in folders.items() if count > 15} == {}


def test_variables_are_named_after_what_they_hold() -> None:
    files = [*all_modules().values(), *(REPOSITORY / "tests").rglob("*.py")]
    assert {str(path): names for path in files if (names := variables(path) & CATCH_ALL)} == {}


def test_the_runtime_names_nothing_heavy_but_where_executorch_takes_pytorchs_tensors() -> None:
    # that module is imported when such a bundle is opened, and not before: see the tests below
    heavy = {path.name: top_level_imports(path) & HEAVY for path in modules("edgecap").values()}
    assert {name: names for name, names in heavy.items() if names} == {"executorch_session.py": {"torch", "executorch"}}


def test_onnxruntime_is_imported_in_one_place_which_keeps_it_from_reporting() -> None:
    names = [name for name, path in all_modules().items() if "onnxruntime" in top_level_imports(path)]
    assert names == ["edgecap.inference.onnx_session"]


def test_captioning_leaves_nothing_on_disk(tiny_folder: Path, sounds: Path, tmp_path: Path) -> None:
    # ONNX Runtime's reporting keeps an identifier and a queue in these places when it is on.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ORT_") and key != "CI"}
    places = {"HOME": "home", "TMPDIR": "tmp"}
    places |= {f"XDG_{kind}_HOME": kind.lower() for kind in ("CACHE", "DATA", "STATE")}
    for folder in places.values():
        (tmp_path / folder).mkdir()
    environment |= {key: str(tmp_path / folder) for key, folder in places.items()} | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "edgecap", "caption", "--model", str(tiny_folder), str(sounds / "noise.wav")]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert [str(path) for folder in places.values() for path in (tmp_path / folder).rglob("*")] == []


def modules_loaded_by(code: str) -> set[str]:
    """Names of the modules in memory after running `code` in a fresh Python."""
    script = f"{code}\nimport sys\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def loaded_by(code: str) -> set[str]:
    """Top-level packages in memory after running `code` in a fresh Python."""
    return {name.split(".")[0] for name in modules_loaded_by(code)}


def test_importing_edgecap_loads_nothing_but_the_standard_library() -> None:
    assert loaded_by("import edgecap") & (HEAVY | SLOW) == set()


def test_captioning_loads_nothing_heavy_and_no_microphone(tiny_folder: Path, sounds: Path) -> None:
    model, sound = str(tiny_folder), str(sounds / "noise.wav")
    loaded = loaded_by(f"import edgecap; list(edgecap.Captioner.load({model!r}).caption_file({sound!r}))")
    assert loaded & HEAVY == set()
    assert {"onnxruntime", "soundfile"} <= loaded
    assert not loaded & {"sounddevice", "typer", "rich"}


def test_plain_command_lines_load_no_command_line_library(tiny_folder: Path, sounds: Path, tmp_path: Path) -> None:
    model, sound, config = str(tiny_folder), str(sounds / "noise.wav"), tmp_path / "listen.toml"
    config.write_text(f"[model]\nname = {model!r}\n[source]\nfile = {sound!r}\nspeed = 0.0\n")
    for words in (["caption", "--model", model, sound], ["listen", "--config", str(config), "--plain"]):
        loaded = loaded_by(f"from edgecap.cli import run; assert run({words!r}) == 0")
        assert not loaded & {"typer", "click", "rich", "pydantic"}
        assert "onnxruntime" in loaded
    loaded = loaded_by("from edgecap.cli import run; assert run(['pull', 'no-such-model']) == 4; run(['--version'])")
    assert not loaded & {"typer", "click", "rich", "pydantic", "onnxruntime"}


def test_the_command_line_loads_nothing_heavy_and_no_listener_to_caption(tiny_folder: Path, sounds: Path) -> None:
    arguments = ["caption", "--model", str(tiny_folder), str(sounds / "noise.wav")]
    loaded = modules_loaded_by(f"from edgecap.cli import run\nrun({arguments!r})")
    assert {name.split(".")[0] for name in loaded} & {*HEAVY, "sounddevice", "rich"} == set()
    assert {name for name in loaded if name.startswith(("edgecap.live", "edgecap.web", "edgecap.service"))} == set()


def test_every_public_name_is_there_and_no_other() -> None:
    for name in edgecap.__all__:
        assert getattr(edgecap, name) is not None
    assert sorted(edgecap.__all__) == dir(edgecap) == PUBLIC
    with pytest.raises(AttributeError, match="no attribute 'Captain'"):
        edgecap.Captain  # noqa: B018
