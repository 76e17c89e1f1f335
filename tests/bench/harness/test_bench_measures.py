"""What a comparison measures beside times: hops, throughput, profiles, graphs, the tagger, bundles of a family."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgecap.bundle.bundle import load_bundle
from edgecap.errors import BundleError
from edgecap.live.config.listen_config import StreamConfig
from edgecap.live.pipeline.stream import MelStream
from edgecap_bench.candidates import variants
from edgecap_bench.candidates.lineup import LineUp
from edgecap_bench.candidates.random_weights import make_tagger
from edgecap_bench.candidates.runners import BundleRunner
from edgecap_bench.candidates.streaming_step import hop_times
from edgecap_bench.candidates.tagger import TAGS, TaggerRunner
from edgecap_bench.candidates.variants import Family, family_of
from edgecap_bench.comparison.comparison import _burst
from edgecap_bench.comparison.report import sheets
from edgecap_bench.comparison.results import HOP_SECONDS, Comparison, OperatorTime, read_comparison
from edgecap_bench.comparison.targets import misses, sureness, wanted
from edgecap_bench.counting.onnx_file import read_graph
from edgecap_bench.counting.profile import profile_graph
from edgecap_bench.harness.timing import summarise
from edgecap_train.teachers.tagger import Tagger
from support.bench_parts import contest_of, entrant
from support.signals import noise

Run = Callable[..., subprocess.CompletedProcess[str]]


def quiet(*_: object) -> None:
    pass


@pytest.fixture
def contest() -> Comparison:
    """One slow bundle and one fast one against the teacher and the student as published."""
    return contest_of(
        entrant("teacher", [2.6] * 6, kind="teacher"),
        entrant("reference", [0.09] * 6, kind="reference"),
        entrant("effb2-trm", [0.02] * 6),
        entrant("tiny", [0.01] * 6),
    )


def test_a_hop_is_that_of_listening_and_computes_new_frames_alone(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert StreamConfig().hop == HOP_SECONDS
    runner = BundleRunner(str(tiny_folder), 1)
    made: list[MelStream] = []
    whole: list[int] = []
    push = MelStream.push
    monkeypatch.setattr(MelStream, "push", lambda self, new: (made.append(self), whole.append(push(self, new)))[1])
    taken = hop_times(runner, noise(10.0), every=2.0, count=3, beam=2, tokens=4)
    assert len(taken) == 3
    assert min(taken) > 0
    assert len(set(map(id, made))) == 1
    assert whole[1:] == [200, 200, 200]


def test_a_profile_tells_every_kind_of_operator_and_counts_its_nodes(tiny_folder: Path) -> None:
    path = load_bundle(tiny_folder).path("encode")
    once, thrice = (profile_graph(path, beam=3, threads=1, times=times) for times in (1, 3))
    assert [each.seconds for each in once] == sorted((each.seconds for each in once), reverse=True)
    kinds = {node.operator for node in read_graph(path).nodes}
    assert {"MatMul", "FusedMatMul", "Gemm"} & {each.operator for each in once} or not kinds & {"MatMul", "Gemm"}
    counts = {each.operator: each.count for each in once}
    assert {each.operator: each.count for each in thrice} == {name: 3 * number for name, number in counts.items()}


def test_graphs_are_read_as_the_package_onnx_reads_them(tiny_folder: Path, tmp_path: Path) -> None:
    for role in ("encode", "decode"):
        path = load_bundle(tiny_folder).path(role)
        graph, model = read_graph(path), onnx.load(str(path))
        assert [node.operator for node in graph.nodes] == [node.op_type for node in model.graph.node]
        assert [node.inputs for node in graph.nodes] == [tuple(node.input) for node in model.graph.node]
        for mine, theirs in zip(graph.tensors, model.graph.initializer, strict=True):
            assert (mine.name, mine.shape) == (theirs.name, tuple(theirs.dims))
            np.testing.assert_array_equal(mine.array(), onnx.numpy_helper.to_array(theirs).ravel())
        assert [value.name for value in graph.outputs] == [value.name for value in model.graph.output]
        more = onnx.load_from_string(graph.with_outputs(["inner"]))
        assert [value.name for value in more.graph.output] == [*(each.name for each in graph.outputs), "inner"]
    for content in (b"", b"\xff\xff\xff", b"no graph"):
        (tmp_path / "x.onnx").write_bytes(content)
        with pytest.raises(BundleError, match="no ONNX graph"):
            read_graph(tmp_path / "x.onnx")
    with pytest.raises(BundleError, match="cannot be read"):
        read_graph(tmp_path / "missing.onnx")


@torch.inference_mode()
def test_the_tagger_hears_and_computes_what_pytorch_does(tmp_path: Path) -> None:
    make_tagger(tmp_path / "tagger")
    runner = TaggerRunner(tmp_path / "tagger", 1)
    torch.manual_seed(0)
    tagger = Tagger().eval()
    samples = noise(10.0, runner.rate)
    features = runner.front_end(samples)
    expected = tagger.log_mel(torch.from_numpy(samples)[None])
    np.testing.assert_allclose(features[0], expected.numpy(), atol=2e-4)
    scores = runner.encode(features)
    np.testing.assert_allclose(scores, tagger(torch.from_numpy(samples)[None]).logits[0].numpy(), atol=1e-3)
    assert runner.decode(scores, 3, 12) is None
    assert len(scores) == 527 > TAGS
    size = runner.size(3, 12)
    assert size.parameters == pytest.approx(983_599, rel=0.02)  # BatchNorm is folded
    assert size.decoder_multiply_adds == 0 < size.encoder_multiply_adds


def test_a_comparison_holds_processor_time_throughput_hops_and_where_from(
    edgecap: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    file, plot = tmp_path / "c.json", tmp_path / "c.png"
    done = edgecap(
        "bench",
        "--model",
        tiny_folder,
        "--model",
        tiny_folder,
        "--rounds",
        2,
        "--tokens",
        3,
        "--even-busy",
        "--json",
        file,
        "--plot",
        plot,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = read_comparison(file)
    assert len(found.entrants) == 2
    for each in found.entrants:
        assert len(each.processor_seconds) == 2
        assert min(each.processor_seconds) > 0
        assert len(each.hops) > 5
        assert each.bursts[0].threads == 1
        assert each.bursts[0].captions >= 1
        assert each.profile
        assert set(each.graphs) == {"encode", "decode"}
    assert found.before is not None
    assert found.after is not None
    assert found.took_seconds
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "A hop of 2 s in a stream" in done.stdout


def test_what_is_missed_is_told_with_its_profile_and_what_it_would_have_to_take(contest: Comparison) -> None:
    by_key = {each.key: each for each in contest.entrants}
    slow = replace(
        by_key["effb2-trm"],
        seconds=by_key["reference"].seconds,
        profile=[
            OperatorTime(graph="encode", operator="Conv", seconds=0.03, count=115),
            OperatorTime(graph="decode", operator="Gemm", seconds=0.01, count=13),
        ],
    )
    missing = replace(contest, entrants=[by_key["teacher"], by_key["reference"], slow])
    assert {(entrant.key, baseline.key) for entrant, baseline, _, _ in misses(missing)} == {
        ("effb2-trm", "teacher"),
        ("effb2-trm", "reference"),
    }
    by_title = {sheet.title: sheet.rows for sheet in sheets(missing)}
    rows = by_title["What was missed, and by how much"]
    assert rows[1][1] == "1.0 of 4 x reference"
    assert rows[1][3].startswith("22.5 ms;")  # a quarter of the 90 ms that the student as published takes
    assert rows[1][5] == "1.0 times fewer"
    assert ("encode", "Conv", "115", "30 ms", "75%") in by_title["Where the time goes: effb2-trm"]
    fast = replace(contest, entrants=[by_key["teacher"], by_key["tiny"]])
    assert not misses(fast)
    assert "What was missed, and by how much" not in {sheet.title for sheet in sheets(fast)}


def test_an_interval_is_called_what_it_is() -> None:
    steady = summarise([10.0, 10.1, 10.2, 10.3, 10.4, 10.5])
    assert sureness(steady) == "within 10 %"
    assert sureness(summarise([8.0, 10.0, 10.0, 10.0, 10.0, 12.0])) == "too wide"
    assert sureness(summarise([10.0] * 5)) == "too few rounds"


def test_nothing_is_wanted_of_other_runtimes_threads_or_machines(contest: Comparison) -> None:
    teacher, tiny = contest.entrants[0], next(each for each in contest.entrants if each.key == "tiny")
    assert wanted(teacher, tiny, 1) == 40.0
    assert wanted(teacher, replace(tiny, runtime="litert"), 1) is None
    assert wanted(teacher, tiny, 2) is None


def test_work_of_another_runtimes_program_is_that_of_the_same_network(contest: Comparison) -> None:
    from edgecap_bench.comparison.comparison import _same_work

    tiny = replace(contest.entrants[-1], runtime="onnx", label="edgecap tiny, onnx fp32")
    program = replace(
        tiny,
        key="tiny litert",
        runtime="litert",
        label="edgecap tiny, litert fp32",
        parameters=None,
        encoder_multiply_adds=None,
        not_counted="no graph",
    )
    found = _same_work([tiny, program])[1]
    assert (found.parameters, found.multiply_adds) == (tiny.parameters, tiny.multiply_adds)
    assert "those of tiny" in found.not_counted
    assert _same_work([program]) == [program]


def test_a_missing_bundle_is_exported_once_and_a_failure_is_told(
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

    monkeypatch.setattr(variants.subprocess, "run", export)
    family = family_of(tiny_folder)
    found, missing = variants.variants(family, ("onnx",), quiet)
    assert found == [tiny_folder, family.kept("onnx", "fp16")]
    assert missing == [f"{family.name} onnx int8: edgecap export failed: it differs"]
    assert [word for command in commands for word in command if word.startswith("--fp") or word == "--int8"] == [
        "--fp16",
        "--int8",
    ]
    commands.clear()
    assert variants.variants(family, ("onnx",), quiet)[0] == found
    assert len(commands) == 1  # what was exported is kept, what failed is tried again
    monkeypatch.setattr(variants, "find_spec", lambda module: None if module == "litert_torch" else object())
    told = variants.variants(family, ("litert",), quiet)[1]
    assert all(line.endswith('litert_torch; type: pip install "edgecap[export-litert]"') for line in told)
    assert len(told) == 3


def test_the_energy_of_a_burst_is_that_of_its_counted_captions_alone() -> None:
    seen: list[object] = []

    class Meter:
        source = "a meter"

        def start(self) -> None:
            seen.append("meter starts")

        def stop(self) -> float:
            seen.append("meter stops")
            return 1.5

    class Talker:
        def ask(self, word: object) -> dict[str, float]:
            seen.append(word)
            return {} if word == "warm" else {"captions": 3, "seconds": 0.5, "processor_seconds": 0.5}

    assert _burst(Talker(), 1, Meter()).joules == 1.5  # type: ignore[arg-type]
    assert seen == ["warm", "meter starts", "burst 0.5", "meter stops"]


def test_bundles_of_other_weights_are_not_of_the_family(tiny_folder: Path, tmp_path: Path) -> None:
    family = family_of(tiny_folder)
    manifest = load_bundle(tiny_folder).manifest
    assert family.fits(manifest)
    other = replace(manifest, provenance=replace(manifest.provenance, sha256="0" * 64))
    assert not family.fits(other)
    assert Family("n", "w", tmp_path).kept("onnx", "int8") != Family("n", "v", tmp_path).kept("onnx", "int8")


def test_each_bundle_has_a_key_of_its_own(tiny_folder: Path) -> None:
    lineup = LineUp()
    for _ in range(3):
        lineup.add_bundle(tiny_folder)
    name = tiny_folder.name
    assert [entry.key for entry in lineup.entries] == [name, f"{name} (2)", f"{name} (3)"]
