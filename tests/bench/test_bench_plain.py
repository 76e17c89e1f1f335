"""`edgecap bench` on a plain install, as a board has it: no torch, no onnx, no matplotlib; and the recorded teacher."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from edgecap.bundle.bundle import BundleContent, load_bundle, vocabulary_content, write_bundle
from edgecap.errors import MissingDependencyError
from edgecap_bench.comparison import baseline
from edgecap_bench.comparison.baseline import BASELINE, record, recorded_candidates, recorded_for
from edgecap_bench.comparison.report import comparison_page, sheets
from edgecap_bench.comparison.results import Comparison
from edgecap_bench.reports.measurement import read_measurement
from edgecap_bench.reports.tables import markdown
from support.bench_parts import measured, with_header

Run = Callable[..., subprocess.CompletedProcess[str]]
HEAVY = ("torch", "transformers", "onnx", "onnxscript", "matplotlib", "safetensors", "executorch", "ai_edge_litert")


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing beyond edgecap's own dependencies can be imported."""
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({HEAVY!r}))\n")
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))}


def test_a_board_compares_its_bundles_with_the_recorded_teacher(
    edgecap: Run, tiny_folder: Path, tmp_path: Path, plain: dict[str, str]
) -> None:
    file = tmp_path / "comparison.json"
    arguments = ("--compare", "teacher", "--model", tiny_folder, "--rounds", 1, "--tokens", 2, "--even-busy")
    done = edgecap("bench", *arguments, "--json-file", file, env=plain)
    assert (done.returncode, done.stderr) == (0, "")
    comparison = read_measurement(file, Comparison).body
    (ours,) = comparison.measured()
    assert ours.parameters is None  # counting needs the package onnx, and says so
    assert 'pip install ".[bench]"' in ours.not_counted
    assert ours.profile
    assert ours.bursts
    recorded = [each for each in comparison.candidates if each.recorded is not None]
    assert {"teacher", "teacher-onnx"} <= {each.kind for each in recorded}
    assert all(each.recorded and each.recorded.machine.processor for each in recorded)
    for words in ("teacher (recorded)", "was measured elsewhere", "another machine: not a result", "not counted"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [(("--plot", "{folder}/x.png", "--compare", "tiny"), "plot"), (("--quality", "--data", "{folder}/x.csv"), "train")],
)
def test_what_needs_an_extra_names_it(
    edgecap: Run, plain: dict[str, str], tmp_path: Path, arguments: tuple[str, ...], extra: str
) -> None:
    done = edgecap("bench", "--even-busy", *(word.format(folder=tmp_path) for word in arguments), env=plain)
    assert (done.returncode, done.stdout) == (5, "")
    assert f'pip install ".[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_all_runtimes_are_the_installed_ones_and_the_rest_is_listed(
    edgecap: Run, tiny_folder: Path, tmp_path: Path, plain: dict[str, str]
) -> None:
    home = tmp_path / "home"
    shutil.copytree(tiny_folder, home / "models" / "same")
    done = edgecap(
        "bench",
        "--model",
        tiny_folder,
        "--runtime",
        "all",
        "--rounds",
        1,
        "--tokens",
        2,
        "--even-busy",
        "--json-file",
        tmp_path / "c.json",
        env=plain,
    )
    assert done.returncode == 0
    comparison = read_measurement(tmp_path / "c.json", Comparison).body
    assert [each.key for each in comparison.candidates] == [tiny_folder.name]  # the copy is the same graphs
    reasons = " ".join(comparison.left_out)
    assert 'litert int8: ai_edge_litert is not installed; type: pip install ".[litert]"' in reasons
    assert "onnx int8: there is no such bundle, and exporting it needs PyTorch" in reasons
    assert len(comparison.left_out) == 8


@pytest.mark.parametrize("runtime", ["litert", "executorch"])
def test_a_bundle_for_a_runtime_that_is_not_there_names_the_extra(
    edgecap: Run, tiny_folder: Path, tmp_path: Path, plain: dict[str, str], runtime: Literal["litert", "executorch"]
) -> None:
    folder, bundle = tmp_path / "bundle", load_bundle(tiny_folder)
    program = BundleContent("model.bin", "program", b"never read")
    write_bundle(folder, replace(bundle.manifest, runtime=runtime), [program, vocabulary_content(bundle.vocabulary)])
    done = edgecap("bench", "--model", tiny_folder, "--compare", folder, "--rounds", 1, "--even-busy", env=plain)
    assert (done.returncode, done.stdout) == (5, "")
    assert f'pip install ".[{runtime}]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_the_record_is_kept_and_marked() -> None:
    candidates = recorded_candidates()
    assert {"teacher", "teacher-onnx"} <= {each.kind for each in candidates}
    assert all(each.recorded is not None for each in candidates)
    assert recorded_candidates(set()) == []


def test_only_the_newest_complete_quiet_comparison_with_a_teacher_is_recorded(tmp_path: Path) -> None:
    recorded = read_measurement(BASELINE, Comparison)
    newer = with_header(recorded, date="2999-01-01T00:00:00+00:00")
    bundles = replace(recorded.body, candidates=recorded.body.measured(("bundle",)))
    unsuitable = [
        with_header(newer, noisy=True),
        with_header(newer, partial=True),
        replace(newer, body=replace(recorded.body, threads=2)),
        replace(newer, body=bundles),
    ]
    assert not record(unsuitable, tmp_path / "r.json")
    assert not (tmp_path / "r.json").exists()
    older = with_header(recorded, date="2000-01-01T00:00:00+00:00")
    assert record([older, recorded, *unsuitable], tmp_path / "r.json")
    assert read_measurement(tmp_path / "r.json", Comparison).header.date == recorded.header.date


def test_ratios_to_a_recorded_teacher_are_not_a_result_but_those_recorded_beside_it_are_shown() -> None:
    recorded = read_measurement(BASELINE, Comparison).body
    twin = next(each for each in recorded.candidates if each.kind == "bundle")
    graphs = {"encode": "1"}
    marked = [replace(each, graphs=graphs) if each.key == twin.key else each for each in recorded_candidates()]
    ours = replace(twin, graphs=graphs, seconds={stage: [9.0] for stage in twin.seconds})
    here = replace(recorded, candidates=[ours, *marked], rounds=1)
    by_title = {sheet.title: sheet.rows for sheet in sheets(here)}
    assert {row[4:] for row in by_title["Ratios, round by round"]} == {("another machine: not a result", "", "")}
    beside = {row[1]: row[2] for row in by_title["The same graphs beside the teacher, where it was recorded"]}
    teacher = next(each for each in recorded.candidates if each.kind == "teacher")
    assert float(beside["teacher (recorded)"]) == pytest.approx(twin.times_faster_than(teacher).median, rel=0.01)
    assert "(recorded) was measured elsewhere" in markdown(comparison_page(measured(here)))


def test_one_missing_package_of_the_extra_is_enough_for_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "find_spec", lambda name: None if name == "transformers" else object())
    assert {each.kind for each in recorded_for(["teacher"])} == {"teacher", "teacher-onnx", "bundle"}
    assert recorded_for(["some-bundle"]) == []


def test_nothing_recorded_is_used_where_the_published_models_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "find_spec", lambda name: object())
    assert recorded_for(["teacher", "reference"]) == []


def test_a_missing_extra_without_a_record_is_named_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(baseline, "find_spec", lambda name: None if name == "transformers" else object())
    with pytest.raises(MissingDependencyError, match=r"--compare teacher needs transformers.*\.\[bench\]"):
        recorded_for(["teacher"], tmp_path / "none.json")
