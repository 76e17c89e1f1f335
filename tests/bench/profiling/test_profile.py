"""`edgecap bench --profile`: parts that add up, their work and the kinds of layers. Times themselves are not tested."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import find_model
from edgecap.errors import ConfigError
from edgecap_bench.counting.macs import onnx_multiply_adds
from edgecap_bench.profiling.layers import layer_times, work_by_kind
from edgecap_bench.profiling.measure import CALLS, SEARCH, check_profiled, frame_multiply_adds
from edgecap_bench.profiling.peak import peak_rates
from edgecap_bench.profiling.report import profile_page
from edgecap_bench.profiling.results import Part, Profile
from edgecap_bench.reports.measurement import Measurement, read_measurement
from support.bench_parts import bench

QUICK = ("--profile", "--rounds", 3, "--even-busy")


@pytest.fixture(scope="module")
def measurement(tmp_path_factory: pytest.TempPathFactory) -> Measurement[Profile]:
    """Of the shipped model."""
    from edgecap.cli import run

    folder = tmp_path_factory.mktemp("profile")
    arguments = (*QUICK, "--json-file", folder / "a.json", "--plot", folder / "a.png")
    assert run(["bench", *map(str, arguments)]) == 0
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")
    return read_measurement(folder / "a.json", Profile)


def test_the_parts_add_up_to_the_caption(measurement: Measurement[Profile]) -> None:
    profile = measurement.body
    assert all(part.seconds >= 0.0 for part in profile.parts)
    assert profile.seconds == pytest.approx(sum(part.seconds for part in profile.parts))
    assert profile.seconds >= 0.999 * median(profile.caption)
    for stage, name in (("front end", "front_end"), ("encoder", "encoder"), ("decoder", "decoder")):
        assert profile.stage_seconds(stage) == pytest.approx(median(profile.stages[name]), rel=1e-6)  # type: ignore[arg-type]
    assert {part.name for part in profile.parts} > {CALLS, SEARCH, "convolutions 1x1", "depthwise convolutions"}


def test_the_work_of_the_parts_is_that_of_the_graphs(measurement: Measurement[Profile]) -> None:
    profile, bundle = measurement.body, load_bundle(find_model(None))
    encoder = sum(part.multiply_adds for part in profile.parts if part.stage == "encoder")
    assert encoder == onnx_multiply_adds(bundle.path("encode"))
    least = profile.stage_least("encoder")
    assert least is not None
    assert encoder / max(profile.peak.values()) <= least <= encoder / min(profile.peak.values())


def test_a_decoder_that_is_run_step_by_step_is_divided_too(tiny_folder: Path, tmp_path: Path) -> None:
    from edgecap.cli import run

    arguments = (*QUICK, "--model", tiny_folder, "--json-file", tmp_path / "a.json")
    assert run(["bench", *map(str, arguments)]) == 0
    parts = read_measurement(tmp_path / "a.json", Profile).body.parts
    decoder = {part.name: part for part in parts if part.stage == "decoder"}
    assert {CALLS, SEARCH, "matrix products"} < decoder.keys()
    assert decoder["matrix products"].multiply_adds > 0
    assert decoder[SEARCH].seconds > 0.0


def test_the_page_has_a_line_for_each_part_with_bars_as_long_as_their_shares(measurement: Measurement[Profile]) -> None:
    (sheet,) = profile_page(measurement).sheets
    assert [row[0] for row in sheet.rows if not row[0].startswith(" ")] == [
        "caption", "front end", "encoder", "decoder", "Python between",
    ]  # fmt: skip
    assert sheet.rows[0][2:4] == ("100.0 %", "█" * 40)
    for row in sheet.rows:
        assert abs(row[3].count("█") - 0.4 * float(row[2].split()[0])) <= 0.6


def graph(path: Path) -> Path:
    """A full, a depthwise and a 1x1 convolution, and a softmax."""
    shapes = {"full": (8, 3, 3, 3), "depth": (8, 1, 3, 3), "point": (4, 8, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "full"], ["a"], name="first", pads=[1] * 4),
        helper.make_node("Conv", ["a", "depth"], ["b"], name="second", pads=[1] * 4, group=8),
        helper.make_node("Conv", ["b", "point"], ["c"], name="third"),
        helper.make_node("Softmax", ["c"], ["y"], name="last"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 3, 6, 5)), ("y", (1, 4, 6, 5)))
    ]
    weights = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()]
    made = helper.make_graph(nodes, "kinds", ends[:1], ends[1:], weights)
    save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_convolutions_are_told_apart_and_their_work_is_counted(tmp_path: Path) -> None:
    path = graph(tmp_path / "kinds.onnx")
    layers = {layer.kind: layer for layer in layer_times(path, {}, 1, work_by_kind(path, {}), name="kinds")}
    work = {kind: layer.multiply_adds for kind, layer in layers.items() if layer.multiply_adds}
    assert work == {
        "full convolutions": 30 * 8 * 27,
        "depthwise convolutions": 30 * 8 * 9,
        "convolutions 1x1": 30 * 4 * 8,
    }
    assert layers["normalisation"].nodes == 1
    assert not any(layer.int8 for layer in layers.values())


def test_a_part_is_held_against_the_peak_of_its_own_arithmetic() -> None:
    settings = {
        "subject": None,
        "settings": None,
        "caption": [1.0],
        "stages": {},
        "peak": {"float32": 10.0, "int8": 40.0},
    }
    parts = [
        Part(stage="encoder", name="a", seconds=3.0, multiply_adds=20, arithmetic="int8"),
        Part(stage="encoder", name="b", seconds=1.0, multiply_adds=20),
        Part(stage="encoder", name="c", seconds=1.0),
    ]
    profile = Profile(**settings, parts=parts)  # type: ignore[arg-type]
    assert [profile.least(part) for part in parts] == [0.5, 2.0, None]
    assert (profile.stage_least("encoder"), profile.stage_seconds("encoder")) == (2.5, 5.0)
    assert profile.stage_least("decoder") is None


def test_the_arithmetic_of_a_frame_is_that_of_a_fast_transform() -> None:
    front_end = load_bundle(find_model(None)).manifest.front_end
    transform = 1.25 * front_end.n_fft * np.log2(front_end.n_fft)
    assert transform < frame_multiply_adds(front_end) < 1.5 * transform


def test_peaks_are_rates_of_this_machine() -> None:
    assert all(1e8 < rate < 1e14 for rate in peak_rates(1).values())


def test_what_cannot_be_profiled_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    bundle = load_bundle(find_model(None))
    with pytest.raises(ConfigError, match=r"runs in litert, which reports no times of its layers; use --profile with"):
        check_profiled(replace(bundle, manifest=replace(bundle.manifest, runtime="litert")))
    assert bench(capsys, *QUICK, "--growth").code == 2
