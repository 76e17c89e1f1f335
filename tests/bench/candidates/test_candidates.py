"""What a comparison measures beside times: hops, profiles, energy; what is missed; bundles of a family."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import onnx
import pytest

from edgecap.bundle.bundle import load_bundle
from edgecap.live.config.listen_config import StreamConfig
from edgecap.live.pipeline.stream import MelStream
from edgecap.types import Waveform
from edgecap.util.progress import no_progress
from edgecap_bench.candidates import variants
from edgecap_bench.candidates.bundle_runner import BundleRunner, hop_times
from edgecap_bench.candidates.runner import HOP_SECONDS
from edgecap_bench.candidates.selection import Selection
from edgecap_bench.candidates.variants import Family, family_of, find_variants
from edgecap_bench.comparison.comparison import measure_burst, with_same_counts
from edgecap_bench.comparison.report import sheets
from edgecap_bench.comparison.results import Comparison
from edgecap_bench.comparison.targets import confidence, misses, wanted
from edgecap_bench.counting.profile import OperatorTime, profile_graph
from edgecap_bench.harness.process import MeasurementProcess
from edgecap_bench.harness.timing import summarise
from support.bench_parts import candidate, comparison_of
from support.exports.exported import Export
from support.signals import noise


@pytest.fixture
def comparison() -> Comparison:
    """One slow bundle and one fast one against the teacher and the student as published."""
    return comparison_of(
        candidate("teacher", [2.6] * 6, kind="teacher"),
        candidate("reference", [0.09] * 6, kind="reference"),
        candidate("effb2-trm", [0.02] * 6),
        candidate("tiny", [0.01] * 6),
    )


def test_a_hop_is_that_of_listening_and_computes_new_frames_only(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert StreamConfig().hop == HOP_SECONDS
    runner = BundleRunner(tiny_folder, 1)
    frames: list[tuple[int, int]] = []
    push = MelStream.push

    def counted(stream: MelStream, samples: Waveform) -> int:
        number = push(stream, samples)
        frames.append((id(stream), number))
        return number

    monkeypatch.setattr(MelStream, "push", counted)
    seconds = hop_times(runner, noise(10.0), every=2.0, count=3, beam=2, tokens=4)
    assert len(seconds) == 3
    assert min(seconds) > 0
    assert len({stream for stream, _ in frames}) == 1
    assert [number for _, number in frames[1:]] == [200, 200, 200]


def test_a_profile_has_every_operator_that_runs_and_counts_its_nodes(tiny_folder: Path) -> None:
    path = load_bundle(tiny_folder).path("encode")
    once, thrice = (profile_graph(path, beam=3, threads=1, times=times, name="encode") for times in (1, 3))
    assert [each.seconds for each in once] == sorted((each.seconds for each in once), reverse=True)
    in_file = Counter(node.op_type for node in onnx.load(path).graph.node)
    profiled = {each.operator: each.count for each in once}
    products = ("MatMul", "FusedMatMul", "Gemm")  # ONNX Runtime may fuse one into another, but none disappears
    assert sum(profiled.get(kind, 0) for kind in products) == sum(in_file[kind] for kind in products) > 0
    assert {each.operator: each.count for each in thrice} == {name: 3 * number for name, number in profiled.items()}


def test_a_graph_that_searches_is_measured_over_the_tokens_asked_for(exported: Export) -> None:
    runner = BundleRunner(exported("onnx", "int8", search="in-graph").bundle.folder, 1)
    samples = noise((runner.length + 160) / runner.rate)[: runner.length]
    runner.decode(runner.encode(runner.front_end(samples)), 3, 5)
    counts = {each.operator: each.count for each in runner.profile(3, 5, 1) if each.graph == "decode"}
    assert counts["MultiHeadAttention"] == 2 * 2 * 5  # two in each of two layers
    assert "Loop" not in counts
    short, long = (runner.size(3, tokens).decoder_multiply_adds for tokens in (4, 5))
    words = 32 * (60 + 2 * (4 * 32 + 2 * 32 + 2 * 64))  # the products with weights, for each of three rows
    assert long - short == 3 * (words + 2 * 2 * 32 * (4 + 1 + 3 * 4))


def test_what_is_missed_is_shown_with_its_profile_and_what_it_would_have_to_take(comparison: Comparison) -> None:
    by_key = {each.key: each for each in comparison.candidates}
    slow = replace(
        by_key["effb2-trm"],
        seconds=by_key["reference"].seconds,
        profile=[
            OperatorTime(graph="encode", operator="Conv", seconds=0.03, count=115),
            OperatorTime(graph="decode", operator="Gemm", seconds=0.01, count=13),
        ],
    )
    missing = replace(comparison, candidates=[by_key["teacher"], by_key["reference"], slow])
    assert {(bundle.key, baseline.key) for bundle, baseline, _, _ in misses(missing)} == {
        ("effb2-trm", "teacher"),
        ("effb2-trm", "reference"),
    }
    by_title = {sheet.title: sheet.rows for sheet in sheets(missing)}
    rows = by_title["What was missed, and by how much"]
    assert rows[1][1] == "1.0 of 4 x reference"
    assert rows[1][3].startswith("22.5 ms;")  # a quarter of the 90 ms that the student as published takes
    assert rows[1][5] == "1.0 times fewer"
    assert ("encode", "Conv", "115", "30 ms", "75%") in by_title["Where the time goes: effb2-trm"]
    fast = replace(comparison, candidates=[by_key["teacher"], by_key["tiny"]])
    assert not misses(fast)
    assert "What was missed, and by how much" not in {sheet.title for sheet in sheets(fast)}


def test_an_interval_is_called_what_it_is() -> None:
    steady = summarise([10.0, 10.1, 10.2, 10.3, 10.4, 10.5])
    assert confidence(steady) == "within 10 %"
    assert confidence(summarise([8.0, 10.0, 10.0, 10.0, 10.0, 12.0])) == "too wide"
    assert confidence(summarise([10.0] * 5)) == "too few rounds"


def test_nothing_is_wanted_of_other_runtimes_threads_or_machines(comparison: Comparison) -> None:
    teacher, tiny = comparison.candidates[0], next(each for each in comparison.candidates if each.key == "tiny")
    assert wanted(teacher, tiny, 1) == 40.0
    assert wanted(teacher, replace(tiny, runtime="litert"), 1) is None
    assert wanted(teacher, tiny, 2) is None


def test_work_of_another_runtimes_program_is_that_of_the_same_network(comparison: Comparison) -> None:

    tiny = replace(comparison.candidates[-1], runtime="onnx", label="edgecap tiny, onnx fp32")
    program = replace(
        tiny,
        key="tiny litert",
        runtime="litert",
        label="edgecap tiny, litert fp32",
        parameters=None,
        encoder_multiply_adds=None,
        not_counted="no graph",
    )
    completed = with_same_counts([tiny, program])[1]
    assert (completed.parameters, completed.multiply_adds) == (tiny.parameters, tiny.multiply_adds)
    assert "those of tiny" in completed.not_counted
    assert with_same_counts([program]) == [program]


def test_a_missing_bundle_is_exported_once_and_a_failure_is_reported(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGECAP_HOME", str(tmp_path / "home"))
    commands: list[list[str]] = []

    def export(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if "--int8" in command:
            return subprocess.CompletedProcess(command, 9, "", "edgecap: note: x\nedgecap: error: it differs\n")
        target = Path(command[command.index("-o") + 1])
        shutil.copytree(tiny_folder, target)
        manifest = target / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"precision": "fp32"', '"precision": "fp16"'))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", export)
    family = family_of(tiny_folder)
    bundles, missing = find_variants(family, ("onnx",), no_progress)
    assert bundles == [tiny_folder, family.export_folder("onnx", "fp16")]
    assert missing == [f"{family.name} onnx int8: edgecap export failed: it differs"]
    assert [word for command in commands for word in command if word.startswith("--fp") or word == "--int8"] == [
        "--fp16",
        "--int8",
    ]
    commands.clear()
    assert find_variants(family, ("onnx",), no_progress)[0] == bundles
    assert len(commands) == 1  # what was exported is kept, what failed is tried again
    monkeypatch.setattr(variants, "find_spec", lambda module: None)
    reasons = find_variants(family, ("onnx",), no_progress)[1]
    assert ['needs PyTorch; type: pip install ".[export]"' in reason for reason in reasons] == [True]


def test_the_energy_of_a_burst_is_that_of_its_counted_captions_alone() -> None:
    order: list[object] = []

    class Meter:
        source = "a meter"

        def start(self) -> None:
            order.append("meter starts")

        def stop(self) -> float:
            order.append("meter stops")
            return 1.5

    class Process:
        def request(self, name: str, *arguments: object) -> dict[str, Any] | None:
            order.append((name, *arguments))
            return None if name == "warm_up" else {"captions": 3, "seconds": 0.5, "processor_seconds": 0.5}

    assert measure_burst(cast(MeasurementProcess, Process()), 1, Meter()).joules == 1.5
    assert order == [("warm_up",), "meter starts", ("burst", 0.5), "meter stops"]


def test_bundles_of_other_weights_are_not_of_the_family(tiny_folder: Path, tmp_path: Path) -> None:
    family = family_of(tiny_folder)
    manifest = load_bundle(tiny_folder).manifest
    assert family.fits(manifest)
    other = replace(manifest, provenance=replace(manifest.provenance, sha256="0" * 64))
    assert not family.fits(other)
    one, two = (Family("n", weights, tmp_path).export_folder("onnx", "int8") for weights in ("w", "v"))
    assert one != two


def test_each_bundle_has_a_unique_key(tiny_folder: Path) -> None:
    selection = Selection()
    for _ in range(3):
        selection.add_bundle(tiny_folder)
    name = tiny_folder.name
    assert [each.key for each in selection.candidates] == [name, f"{name} (2)", f"{name} (3)"]
