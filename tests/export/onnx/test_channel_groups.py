"""Wide maps in groups of channels: the same answers, smaller maps, and what cannot be split left as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper, shape_inference

from edgecap_export.onnx.channel_groups import BLOCK, grouped
from edgecap_export.quantisation.onnx_graph import graph_runner

NARROW, WIDE, HEIGHT, WIDTH = 8, 5 * BLOCK, 6, 10


def bottleneck(*, shown: str = "narrow", swish: bool = True) -> onnx.ModelProto:
    """A widening convolution, a depthwise one, squeeze-and-excitation, a narrowing one; `shown` is the answer."""
    rng = np.random.default_rng(5)
    shapes = {
        "widen": (WIDE, NARROW, 1, 1),
        "depthwise": (WIDE, 1, 3, 3),
        "reduce": (4, WIDE, 1, 1),
        "excite": (WIDE, 4, 1, 1),
        "narrow": (NARROW, WIDE, 1, 1),
    }
    constants: dict[str, NDArray[Any]] = {"axes": np.array([2, 3], np.int64)}
    for name, shape in shapes.items():
        constants[f"{name}.w"] = (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        constants[f"{name}.b"] = rng.normal(size=shape[:1]).astype(np.float32)

    def conv(name: str, source: str, output: str, **more: Any) -> NodeProto:
        return helper.make_node("Conv", [source, f"{name}.w", f"{name}.b"], [output], name, **more)

    def activated(name: str) -> list[NodeProto]:
        if not swish:
            return [helper.make_node("Relu", [f"{name}_raw"], [name], f"{name} relu")]
        gate = helper.make_node("Sigmoid", [f"{name}_raw"], [f"{name}_gate"], f"{name} sigmoid")
        return [gate, helper.make_node("Mul", [f"{name}_raw", f"{name}_gate"], [name], f"{name} swish")]

    nodes = [
        conv("widen", "x", "wide_raw"),
        *activated("wide"),
        conv("depthwise", "wide", "far_raw", group=WIDE, pads=[0, 0, 1, 1], strides=[2, 2]),
        *activated("far"),
        helper.make_node("ReduceMean", ["far", "axes"], ["mean"], "mean", keepdims=1),
        conv("reduce", "mean", "squeezed"),
        conv("excite", "squeezed", "excited"),
        helper.make_node("Sigmoid", ["excited"], ["gate"], "gate"),
        helper.make_node("Mul", ["far", "gate"], ["scaled"], "scale"),
        conv("narrow", "scaled", "narrow"),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, NARROW, HEIGHT, WIDTH))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in dict.fromkeys(("narrow", shown))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = helper.make_opsetid("", 18)
    return shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[opset], ir_version=9))


def widths(model: onnx.ModelProto) -> list[int]:
    """Channels of each depthwise convolution."""
    groups = (item.i for node in model.graph.node for item in node.attribute if item.name == "group")
    return sorted(groups)


@pytest.mark.parametrize("swish", [True, False])
@pytest.mark.parametrize("groups", [2, 3, 5])
def test_a_map_in_groups_gives_the_same_answer(groups: int, swish: bool) -> None:
    graph = bottleneck(swish=swish)
    split = grouped(graph, -(-WIDE * HEIGHT * WIDTH // groups))
    onnx.checker.check_model(split, full_check=True)
    sizes = widths(split)
    assert len(sizes) == groups
    assert sum(sizes) == WIDE
    assert all(size % BLOCK == 0 and size > 0 for size in sizes)
    x = {"x": np.random.default_rng(7).normal(size=(1, NARROW, HEIGHT, WIDTH)).astype(np.float32)}
    before, after = (graph_runner(model.SerializeToString())(x)["narrow"] for model in (graph, split))
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert split.SerializeToString() == grouped(graph, -(-WIDE * HEIGHT * WIDTH // groups)).SerializeToString()


def test_a_group_has_at_least_the_channels_that_lie_together() -> None:
    assert widths(grouped(bottleneck(), 1)) == [BLOCK] * (WIDE // BLOCK)


@pytest.mark.parametrize("shown", ["wide", "far", "far_raw"])
def test_a_map_that_others_need_whole_stays_whole(shown: str) -> None:
    model = bottleneck(shown=shown)
    assert grouped(model, 1) is model


def test_a_map_of_unknown_size_or_small_enough_stays_whole() -> None:
    model = bottleneck()
    assert grouped(model, WIDE * HEIGHT * WIDTH) is model
    del model.graph.value_info[:]
    assert grouped(model, 1) is model


def test_a_map_that_is_not_averaged_but_taken_elsewhere_stays_whole() -> None:
    model = bottleneck()
    model.graph.node.append(helper.make_node("Exp", ["far"], ["other"], "exp"))
    model.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, None))
    assert grouped(model, 1) is model
