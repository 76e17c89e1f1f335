"""Int8 and float16 graphs answer as the float graph does, ranges come from sounds, and recipes travel as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import soundfile
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgecap.audio.frontend import FrontEnd
from edgecap.bundle.models import find_model
from edgecap.errors import AudioError, BundleError
from edgecap_export import calibration
from edgecap_export.calibration import read_calibration
from edgecap_export.graphs.onnx_export import OnnxGraphs
from edgecap_export.onnx.lowering import OnnxLowering
from edgecap_export.quantisation import int8_plan
from edgecap_export.quantisation.int8_plan import plan
from edgecap_export.quantisation.layers import rank_layers
from edgecap_export.quantisation.onnx_graph import graph_runner
from edgecap_export.quantisation.quantise import quantise_encoder, simplified, step_of
from edgecap_export.quantisation.ranges import Ranges, measure_ranges, parse_ranges, percentile_range, render_ranges
from edgecap_export.quantisation.weights import halve_weights, quantise_products
from edgecap_export.recipes import FP16, INT8, INT8_SWISH, ExportRecipe, render_recipe
from edgecap_export.runtimes import Calibration, LoweringRequest
from support.exports.exported import request

FRAMES, WIDTH = 64, 16
LogMels = list[NDArray[np.float32]]


def model(
    nodes: list[NodeProto],
    constants: Mapping[str, NDArray[Any]],
    inputs: list[tuple[str, int, tuple[int, ...]]],
    outputs: list[tuple[str, tuple[int, ...] | None]],
    maps: Iterable[tuple[str, tuple[int, ...]]] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*item) for item in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
        value_info=[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in maps],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture(scope="module")
def encoder() -> onnx.ModelProto:
    """A stem, a ReLU block, and a block with swish and squeeze-excite, as both students have them."""
    rng = np.random.default_rng(3)

    def weight(*shape: int) -> NDArray[np.float32]:
        return np.asarray(rng.normal(size=shape) / np.sqrt(np.prod(shape[1:])), np.float32)

    constants: dict[str, NDArray[Any]] = {
        "plane": np.array([1], np.int64),
        "axes": np.array([2, 3], np.int64),
        "stem.w": weight(8, 1, 3, 3),
        "stem.b": weight(8, 1)[:, 0],
        "dw.w": weight(8, 1, 3, 3),
        "dw.b": weight(8, 1)[:, 0],
        "pw.w": weight(WIDTH, 8, 1, 1),
        "pw.b": weight(WIDTH, 1)[:, 0],
        "dw2.w": weight(WIDTH, 1, 3, 3),
        "dw2.b": weight(WIDTH, 1)[:, 0],
        "reduce.w": weight(4, WIDTH, 1, 1),
        "reduce.b": weight(4, 1)[:, 0],
        "excite.w": weight(WIDTH, 4, 1, 1),
        "excite.b": weight(WIDTH, 1)[:, 0],
        "project.w": weight(8, WIDTH, 1, 1),
        "project.b": weight(8, 1)[:, 0],
    }
    node = helper.make_node

    def conv(name: str, source: str, **more: Any) -> NodeProto:
        return node("Conv", [source, f"{name}.w", f"{name}.b"], [name], name, **more)

    nodes = [
        node("Unsqueeze", ["log_mel", "plane"], ["image"], "image"),
        conv("stem", "image", pads=[1] * 4, strides=[2, 2]),
        node("Relu", ["stem"], ["stem_r"], "r0"),
        conv("dw", "stem_r", pads=[1] * 4, group=8),
        node("Relu", ["dw"], ["dw_r"], "r1"),
        conv("pw", "dw_r"),
        node("Sigmoid", ["pw"], ["pw_s"], "s1"),
        node("Mul", ["pw", "pw_s"], ["pw_m"], "m1"),
        conv("dw2", "pw_m", pads=[0, 0, 1, 1], strides=[2, 2], group=WIDTH),
        node("Sigmoid", ["dw2"], ["dw2_s"], "s2"),
        node("Mul", ["dw2_s", "dw2"], ["dw2_m"], "m2"),
        node("ReduceMean", ["dw2_m", "axes"], ["mean"], "mean", keepdims=1),
        conv("reduce", "mean"),
        node("Relu", ["reduce"], ["reduce_r"], "r2"),
        conv("excite", "reduce_r"),
        node("Sigmoid", ["excite"], ["gate"], "s3"),
        node("Mul", ["dw2_m", "gate"], ["scaled"], "m3"),
        conv("project", "scaled"),
        node("Identity", ["project"], ["cross_keys"], "out"),
    ]
    big, small = (1, 8, 32, FRAMES // 2), (1, WIDTH, 15, FRAMES // 4 - 1)
    wide = (1, WIDTH, 32, FRAMES // 2)
    maps = [
        ("image", (1, 1, 64, FRAMES)),
        *((n, big) for n in ("stem", "stem_r", "dw", "dw_r")),
        *((n, wide) for n in ("pw", "pw_m")),
        *((n, small) for n in ("dw2", "dw2_m", "scaled")),
        ("project", (1, 8, *small[2:])),
    ]
    return model(
        nodes,
        constants,
        [("log_mel", TensorProto.FLOAT, (1, 64, FRAMES)), ("memory_length", TensorProto.INT64, (1,))],
        [("cross_keys", None)],
        maps,
    )


@pytest.fixture(scope="module")
def log_mels() -> LogMels:
    return [np.random.default_rng(seed).normal(size=(1, 64, FRAMES)).astype(np.float32) for seed in range(4)]


@pytest.fixture(scope="module")
def ranges(encoder: onnx.ModelProto, log_mels: LogMels) -> Ranges:
    spans = measure_ranges(simplified(encoder), log_mels, INT8.percentile)
    return Ranges(weights="w", clips=4, percentile=INT8.percentile, spans=spans)


def keys(graph: onnx.ModelProto, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
    inputs = {"log_mel": log_mel, "memory_length": np.array([1])}
    return graph_runner(graph.SerializeToString())(inputs)["cross_keys"]


def kinds(graph: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in graph.graph.node]


def error(approximate: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(approximate - exact) / np.linalg.norm(exact))


def test_a_simplified_graph_has_swish_and_pooling_in_one_operator_each_and_the_same_answer(
    encoder: onnx.ModelProto, log_mels: LogMels
) -> None:
    simple = simplified(encoder)
    assert kinds(simple).count("QuickGelu") == 2
    assert kinds(simple).count("GlobalAveragePool") == 1
    assert kinds(simple).count("Sigmoid") == 1
    np.testing.assert_allclose(keys(simple, log_mels[0]), keys(encoder, log_mels[0]), atol=1e-5)


def test_an_int8_encoder_answers_nearly_as_the_float_one(
    encoder: onnx.ModelProto, ranges: Ranges, log_mels: LogMels
) -> None:
    graph = quantise_encoder(simplified(encoder), ranges.of(INT8), INT8)
    assert kinds(graph).count("Conv") == 1  # the stem
    assert {"QLinearConv", "GlobalAveragePool", "QuickGelu"} <= set(kinds(graph))
    assert error(keys(graph, log_mels[0]), keys(encoder, log_mels[0])) < 0.06


def test_beside_float_depthwise_convolutions_a_large_map_is_scaled_while_it_becomes_bytes(
    encoder: onnx.ModelProto, log_mels: LogMels, monkeypatch: pytest.MonkeyPatch
) -> None:
    simple = simplified(encoder)
    wide = replace(INT8_SWISH, float_first=0, least_inputs=WIDTH)
    spans = measure_ranges(simple, log_mels, wide.percentile)
    graphs = {}
    for places in (1, 10_000):  # the map that is scaled has 225 to each channel
        monkeypatch.setattr(int8_plan, "PLACES", places)
        graphs[places] = quantise_encoder(simple, spans, wide)
    scaled, apart = (kinds(graph) for graph in graphs.values())
    assert scaled.count("Conv") == 6  # stem, both depthwise ones, the expansion from 8 channels, the gate's two
    assert scaled.count("MatMulIntegerToFloat") + scaled.count("QLinearConv") == 1
    assert scaled.count("Mul") == apart.count("Mul") - 1
    assert error(keys(graphs[1], log_mels[0]), keys(graphs[10_000], log_mels[0])) < 0.01
    assert error(keys(graphs[1], log_mels[0]), keys(encoder, log_mels[0])) < 0.03


def test_ranges_of_a_graph_whose_tensors_have_other_names_are_refused_in_one_line(
    encoder: onnx.ModelProto, ranges: Ranges
) -> None:
    renamed = replace(ranges, spans={f"{name}_1": span for name, span in ranges.spans.items()})
    graphs = OnnxGraphs(encoder.SerializeToString(), b"")
    asked = LoweringRequest(
        student=request().student, window=FRAMES, recipe=INT8, calibration=Calibration((), renamed), float_graphs=graphs
    )
    with pytest.raises(BundleError, match=r"lack 'stem_r' and \d+ more tensors .*--calibration"):
        OnnxLowering().lower(asked)


def test_wrong_ranges_are_seen_in_the_answer(encoder: onnx.ModelProto, ranges: Ranges, log_mels: LogMels) -> None:
    narrow = {name: (low / 20, high / 20) for name, (low, high) in ranges.of(INT8).items()}
    graph = quantise_encoder(simplified(encoder), narrow, INT8)
    assert error(keys(graph, log_mels[0]), keys(encoder, log_mels[0])) > 0.3


@pytest.mark.parametrize("change", [{"keep": ("pw", "dw2")}, {"float_first": 2}, {"convolutions": ("pointwise",)}])
def test_what_a_recipe_leaves_in_float_stays_there_with_a_reason(
    encoder: onnx.ModelProto, ranges: Ranges, log_mels: LogMels, change: dict[str, Any]
) -> None:
    recipe, simple = replace(INT8, **change), simplified(encoder)
    planned = plan(simple, recipe)
    assert len(planned.quantised) == 2
    assert all(planned.stays.values())
    graph = quantise_encoder(simple, ranges.of(recipe), recipe)
    assert {node.name for node in graph.graph.node if node.op_type == "Conv"} >= {"stem"}
    assert error(keys(graph, log_mels[0]), keys(encoder, log_mels[0])) < 0.06


def test_the_depthwise_convolution_behind_the_stem_stays_in_float(encoder: onnx.ModelProto) -> None:
    planned = plan(simplified(encoder), OnnxLowering().recipe("int8", "yamnet"))
    assert planned.stays["dw"] == int8_plan.FIRST
    assert set(planned.quantised) == {"pw", "dw2", "project"}


def test_layers_are_ranked_by_what_they_do_alone(encoder: onnx.ModelProto, ranges: Ranges, log_mels: LogMels) -> None:
    simple, spans = simplified(encoder), dict(ranges.of(INT8))
    spans["dw"] = spans["dw_r"] = (0.0, spans["dw_r"][1] / 50)
    layers = rank_layers(simple, spans, INT8, log_mels[:2])
    assert {layer.node for layer in layers} == {"dw", "pw", "dw2", "project"}
    assert [layer.error for layer in layers] == sorted((layer.error for layer in layers), reverse=True)
    assert layers[0].node in {"dw", "pw"}  # both use the tensor whose range was spoiled


def test_a_range_always_holds_zero_exactly() -> None:
    for span in ((0.5, 2.0), (-3.0, -1.0), (-1.0, 3.0), (0.0, 0.0)):
        step = step_of(span)
        assert step.scale > 0
        assert 0 <= int(step.zero) <= 255
    assert step_of((0.0, 255.0)).zero == 0
    assert step_of((-255.0, 0.0)).zero == 255


def test_a_percentile_cuts_both_ends() -> None:
    counts = np.zeros(1000, np.int64)
    counts[[0, 999]] = 5
    counts[400:600] = 1000
    assert percentile_range(-10.0, 10.0, counts, 99.0) == pytest.approx((-2.0, 2.0), abs=0.05)
    assert percentile_range(-10.0, 10.0, counts, 100.0) == (-10.0, 10.0)


def test_products_and_tables_in_int8_answer_nearly_as_in_float() -> None:
    rng = np.random.default_rng(0)
    shapes = {"table": (600, 64), "w": (64, 80), "b": (80,), "small": (80, 4)}
    constants = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["x"], "gather"),
        helper.make_node("MatMul", ["x", "w"], ["y"], "product"),
        helper.make_node("Add", ["y", "b"], ["z"], "sum"),
        helper.make_node("MatMul", ["z", "small"], ["out"], "little"),
    ]
    graph = model(nodes, constants, [("tokens", TensorProto.INT64, (3,))], [("out", (3, 4))])
    quantised = quantise_products(graph)
    assert kinds(quantised).count("DynamicQuantizeMatMul") == 1
    assert kinds(quantised).count("MatMul") == 1  # too small to gain
    assert "Add" not in kinds(quantised)
    tokens = {"tokens": np.array([1, 599, 7])}
    exact, rounded = (graph_runner(each.SerializeToString())(tokens)["out"] for each in (graph, quantised))
    assert 0 < error(rounded, exact) < 0.02
    assert quantised.ByteSize() < 0.35 * graph.ByteSize()
    assert kinds(quantise_products(graph, keep=("gather", "product"))) == kinds(graph)


def test_float16_weights_halve_the_file_and_nothing_else_and_what_they_cannot_hold_stays() -> None:
    rng = np.random.default_rng(0)
    constants = {"w": rng.normal(size=(64, 64)).astype(np.float32), "large": np.full((64, 64), 1e6, np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], "one"),
        helper.make_node("MatMul", ["y", "large"], ["z"], "two"),
    ]
    graph = model(nodes, constants, [("x", TensorProto.FLOAT, (1, 64))], [("z", (1, 64))])
    halved = halve_weights(graph)
    assert [item.data_type for item in halved.graph.initializer].count(TensorProto.FLOAT16) == 1
    assert halved.ByteSize() == pytest.approx(0.75 * graph.ByteSize(), rel=0.02)
    x = {"x": rng.normal(size=(1, 64)).astype(np.float32)}
    exact, rounded = (graph_runner(each.SerializeToString())(x)["z"] for each in (graph, halved))
    assert 0 < error(rounded, exact) < 1e-2


def test_a_recipe_is_rendered_with_all_its_choices() -> None:
    for recipe in (INT8, FP16, replace(INT8, keep=("a", "b")), INT8_SWISH):
        assert msgspec.convert(json.loads(render_recipe(recipe)), ExportRecipe) == recipe


def test_ranges_survive_json_and_nonsense_is_refused(ranges: Ranges) -> None:
    again = parse_ranges(render_ranges(ranges))
    assert again.spans.keys() == ranges.spans.keys()
    assert again.of(INT8)["dw_r"] == pytest.approx(ranges.of(INT8)["dw_r"], rel=1e-3)
    with pytest.raises(BundleError, match="--calibration"):
        again.of(replace(INT8, percentile=50.0))
    for text in (b"{}", b"[]", b"3", b"\xff", b'{"format": "edgecap-ranges"}'):
        with pytest.raises(BundleError, match="--calibration"):
            parse_ranges(text)


def test_a_file_with_the_ranges_of_several_rules_can_be_read(ranges: Ranges) -> None:
    document = json.loads(render_ranges(ranges))
    document["spans"] |= {rule: {"dw_r": [0.0, 1.0]} for rule in ("entropy", "extremes", "least-error")}
    assert parse_ranges(json.dumps(document).encode()) == parse_ranges(render_ranges(ranges))
    for name in ("tiny", "effb2-trm"):  # the bundles that come with edgecap
        stored = parse_ranges((find_model(name) / "ranges.json").read_bytes())
        assert len(stored.of(INT8)) > 50
        assert (find_model(name) / "ranges.json").read_bytes() == render_ranges(stored)  # and nothing that is not read


def test_every_recording_is_used_however_many_there_are_and_at_every_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: set[int] = set()
    levels: list[int] = []

    def window_of(sound: NDArray[np.float32], *_: object) -> None:
        files.add(round(float(sound[1] / sound[0])))
        levels.append(round(20 * float(np.log10(sound[0]))))

    for number in range(200):
        (tmp_path / f"{number:03}.wav").touch()
    monkeypatch.setattr(calibration, "_windows", lambda path, *_: [np.array([1.0, int(path.stem)], np.float32)] * 2)
    monkeypatch.setattr(calibration, "loudest_level", lambda *_: -20.0)
    monkeypatch.setattr(calibration, "window_of", window_of)
    assert read_calibration(tmp_path, FrontEnd(), 201).clips == 200
    assert files == set(range(200))
    assert len(levels) == calibration.MOST_WINDOWS
    assert min(levels.count(round(gain)) for gain in calibration.GAINS_DB) > 30


def test_calibration_needs_recordings_and_says_what_few_or_silent_ones_do(tmp_path: Path) -> None:
    front_end = FrontEnd()
    with pytest.raises(AudioError, match="no folder"):
        read_calibration(tmp_path / "nowhere", front_end, 201)
    with pytest.raises(AudioError, match="no sound files"):
        read_calibration(tmp_path, front_end, 201)
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(16_000, np.float32), 16_000)
    silent = read_calibration(tmp_path, front_end, 201)
    assert "silent" in silent.warnings[0]
    assert "clipped" in silent.warnings[0]
    soundfile.write(tmp_path / "c.wav", 0.1 * np.random.default_rng(0).normal(size=16_000 * 5), 16_000)
    few = read_calibration(tmp_path, front_end, 201)
    assert "3 recordings" in few.warnings[0]
    assert {spectrogram.shape for spectrogram in few.log_mels} == {(1, 64, 201)}
    levels = sorted({round(float(spectrogram.max()), 1) for spectrogram in few.log_mels})
    assert levels[-1] - levels[1] > 30  # the same noise near and far
