"""`edgecap bench` on a plain install, as a board has it: no torch, no onnx, no matplotlib; and the recorded teacher."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from edgecap.bundle.bundle import BundleContent, load_bundle, vocabulary_content, write_bundle
from edgecap.bundle.models import BUNDLED
from edgecap_bench.comparison import compare
from edgecap_bench.comparison.baseline import PUBLISHED, RECORDED, record, recorded_entrants
from edgecap_bench.comparison.report import comparison_page, sheets
from edgecap_bench.comparison.results import Comparison, read_comparison
from edgecap_bench.reports.tables import markdown

Run = Callable[..., subprocess.CompletedProcess[str]]
HEAVY = ("torch", "transformers", "onnx", "onnxscript", "matplotlib", "safetensors", "executorch", "ai_edge_litert")


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing beyond edgecap's own dependencies can be imported."""
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({HEAVY!r}))\n")
    return {"PYTHONPATH": str(folder)}


def test_a_board_compares_all_its_bundles_with_the_recorded_teacher(
    edgecap: Run, tiny_folder: Path, tmp_path: Path, plain: dict[str, str]
) -> None:
    file = tmp_path / "contest.json"
    shutil.copytree(tiny_folder, tmp_path / "home" / "models" / "mine")
    done = edgecap(
        "bench", "--compare", "teacher", "--rounds", 1, "--tokens", 2, "--even-busy", "--json", file, env=plain
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = read_comparison(file)
    measured = [each for each in found.entrants if each.recorded is None]
    recorded = [each for each in found.entrants if each.recorded is not None]
    assert len(measured) == 1 + sum(model.is_dir() for model in BUNDLED.iterdir())
    assert all(each.parameters and each.multiply_adds for each in measured)  # counted without the package onnx
    assert {"teacher", "teacher-onnx"} <= {each.kind for each in recorded}
    assert all(each.recorded and each.recorded.machine.processor for each in recorded)
    for words in ("teacher (recorded)", "was measured elsewhere", "another machine: no result"):
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
    assert f'pip install "edgecap[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_all_runtimes_are_those_that_are_here_and_the_rest_is_told(
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
        "--json",
        tmp_path / "c.json",
        env=plain,
    )
    assert done.returncode == 0
    found = read_comparison(tmp_path / "c.json")
    assert [each.key for each in found.entrants] == [tiny_folder.name]  # the copy is the same graphs
    told = " ".join(found.left_out)
    assert 'litert int8: ai_edge_litert is not installed; type: pip install "edgecap[litert]"' in told
    assert "onnx int8: not here, and exporting it needs torch" in told
    assert len(found.left_out) == 8


@pytest.mark.parametrize("runtime", ["litert", "executorch"])
def test_a_bundle_for_a_runtime_that_is_not_there_names_the_extra(
    edgecap: Run, tiny_folder: Path, tmp_path: Path, plain: dict[str, str], runtime: Literal["litert", "executorch"]
) -> None:
    folder, bundle = tmp_path / "bundle", load_bundle(tiny_folder)
    program = BundleContent("model.bin", "program", b"never read")
    write_bundle(folder, replace(bundle.manifest, runtime=runtime), [program, vocabulary_content(bundle.vocabulary)])
    done = edgecap("bench", "--model", tiny_folder, "--compare", folder, "--rounds", 1, "--even-busy", env=plain)
    assert (done.returncode, done.stdout) == (5, "")
    assert f"edgecap[{runtime}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_record_is_kept_and_marked() -> None:
    entrants = recorded_entrants(PUBLISHED)
    assert {"teacher", "teacher-onnx"} <= {each.kind for each in entrants}
    assert all(each.recorded is not None for each in entrants)
    assert recorded_entrants({"tagger-of-another-kind"}) == []


def test_only_the_newest_whole_quiet_comparison_with_a_teacher_is_recorded(tmp_path: Path) -> None:
    contest = read_comparison(RECORDED)
    newer = replace(contest, date="2999-01-01T00:00:00+00:00")
    bad = [
        replace(newer, noisy=True),
        replace(newer, partial=True),
        replace(newer, threads=2),
        replace(newer, entrants=[each for each in newer.entrants if each.kind == "bundle"]),
    ]
    assert not record(bad, tmp_path / "r.json")
    assert not (tmp_path / "r.json").exists()
    older = replace(contest, date="2000-01-01T00:00:00+00:00")
    assert record([older, contest, *bad], tmp_path / "r.json")
    assert read_comparison(tmp_path / "r.json").date == contest.date


def test_ratios_to_a_recorded_teacher_are_no_result_but_those_recorded_beside_it_are_told() -> None:
    contest = read_comparison(RECORDED)
    twin = next(each for each in contest.entrants if each.kind == "bundle")
    marked = [
        replace(each, graphs={"encode": "1"}) if each.key == twin.key else each for each in recorded_entrants(PUBLISHED)
    ]
    mine = replace(twin, graphs={"encode": "1"}, seconds={stage: [9.0] for stage in twin.seconds})
    here: Comparison = replace(contest, entrants=[mine, *marked], rounds=1)
    by_title = {sheet.title: sheet.rows for sheet in sheets(here)}
    assert {row[4:] for row in by_title["Ratios, round by round"]} == {("another machine: no result", "", "")}
    beside = {row[1]: row[2] for row in by_title["The same graphs beside the teacher, where it was recorded"]}
    teacher = next(each for each in contest.entrants if each.kind == "teacher")
    assert float(beside["teacher (recorded)"]) == pytest.approx(twin.times_faster_than(teacher).median, rel=0.01)
    assert "(recorded) was measured elsewhere" in markdown(comparison_page(here))


def test_a_missing_part_of_the_extra_is_enough_for_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "find_spec", lambda name: None if name == "transformers" else object())
    assert {each.kind for each in compare.recorded_for(["teacher"])} == {"teacher", "teacher-onnx", "bundle"}
