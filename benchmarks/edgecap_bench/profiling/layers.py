"""Kinds of layers: the nodes of an ONNX graph, by name and by operator, with their multiply-adds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from edgecap_bench.counting.macs import CONVOLUTIONS, PRODUCTS, WEIGHT_INPUT, node_multiply_adds, read_graph
from edgecap_bench.counting.profile import EVENT_SUFFIX, RUNS, node_events

OTHER = "other operators"
INTEGER = ("QLinear", "QGemm", "Integer", "DynamicQuantizeMat")
"""Parts of the names of operators that multiply 8-bit integers."""
KINDS = {
    "quantise": {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast"},
    "activation": {"Relu", "Clip", "Sigmoid", "QLinearSigmoid", "HardSwish", "HardSigmoid", "QuickGelu", "Gelu", "Erf"},
    "arithmetic": {"Add", "Sub", "Mul", "Div", "QLinearAdd", "QLinearMul", "Where", "Sqrt", "Pow", "Exp", "Log"},
    "layout and copies": {
        "ReorderInput", "ReorderOutput", "Transpose", "Concat", "Split", "Slice", "Gather", "GatherND", "ScatterND",
        "Unsqueeze", "Squeeze", "Reshape", "Expand", "Pad", "Identity", "Shape",
    },
    "normalisation": {"LayerNormalization", "SkipLayerNormalization", "BatchNormalization", "Softmax", "LogSoftmax"},
    "reduction": {
        "ReduceMean", "ReduceSum", "ReduceMax", "GlobalAveragePool", "QLinearGlobalAveragePool", "AveragePool",
        "MaxPool", "ArgMax", "TopK",
    },
}  # fmt: skip
"""Kind → operators, the fused ones of ONNX Runtime among them, beside convolutions and products."""
_KIND_OF = {operator: kind for kind, operators in KINDS.items() for operator in operators}
_KIND_OF["MultiHeadAttention"] = "matrix products"
_KIND_OF |= dict.fromkeys(PRODUCTS, "matrix products") | dict.fromkeys(CONVOLUTIONS, "convolutions")


@dataclass(frozen=True)
class LayerTime:
    """One kind of layer in one run of a graph."""

    kind: str
    seconds: float
    nodes: int
    multiply_adds: int
    int8: bool
    """Whether the arithmetic is of 8-bit integers."""


def layer_times(
    graph: Path | bytes, sizes: Mapping[str, int], threads: int, work: Mapping[str, int], *, name: str
) -> list[LayerTime]:
    """The kinds of layers of one run of a graph on zeros, the longest first.

    `sizes` gives its named axes, `work` the multiply-adds of each kind, and `name` is what an error calls the graph.
    ONNX Runtime's own profile, medians of several runs after a warm-up. Profiling adds a little to each node. Raises
    BundleError for a graph that does not run, MissingDependencyError without the package onnx.
    """
    kinds = _convolution_kinds(read_graph(graph)) if isinstance(graph, Path) else {}
    events = node_events(graph, sizes, threads, name=name)
    nodes = len(events) // RUNS
    seconds: dict[str, list[float]] = defaultdict(lambda: [0.0] * RUNS)
    counts: dict[str, int] = defaultdict(int)
    integers: dict[str, bool] = defaultdict(bool)
    for number, event in enumerate(events):
        operator = event["args"]["op_name"]
        kind = kinds.get(_node_name(event["name"])) or _convolution_kind(event["args"]) or _KIND_OF.get(operator, OTHER)
        seconds[kind][number // nodes] += event["dur"] / 1e6
        counts[kind] += 1
        integers[kind] |= any(letters in operator for letters in INTEGER)
    times = [
        LayerTime(kind, median(seconds[kind]), counts[kind] // RUNS, work.get(kind, 0), integers[kind])
        for kind in seconds.keys() | work.keys()
    ]
    return sorted(times, key=lambda each: -each.seconds)


def work_by_kind(path: Path, sizes: Mapping[str, int]) -> dict[str, int]:
    """Multiply-adds of one run of a graph without loops, by kind. Raises BundleError, MissingDependencyError."""
    kinds = _convolution_kinds(read_graph(path))
    work: dict[str, int] = defaultdict(int)
    for name, (operator, amount) in node_multiply_adds(path, sizes).items():
        work[kinds.get(name) or _KIND_OF[operator]] += amount
    return dict(work)


def _node_name(event: str) -> str:
    """The node that an event is of; ONNX Runtime adds to the names of nodes that it fuses."""
    return event.removesuffix(EVENT_SUFFIX).partition("/")[0].removesuffix("_nchwc").removesuffix("_quant")


def _convolution_kinds(model: Any) -> dict[str, str]:  # noqa: ANN401 - onnx has no types
    """Names of convolutions, and of their outputs, in the graph as it is stored → kind."""
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    source = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    kinds: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type in CONVOLUTIONS:
            name = node.input[WEIGHT_INPUT.get(node.op_type, 1)]
            shape = shapes.get(source.get(name, name))
            groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
            if shape is not None:
                kinds |= dict.fromkeys((node.name, node.output[0]), _kind_of_weight(shape, groups))
    return kinds


def _convolution_kind(arguments: Mapping[str, Any]) -> str | None:
    """The kind of a convolution whose node got another name, by shapes where the event shows that of the weight."""
    operator = arguments["op_name"]
    if operator in CONVOLUTIONS:
        shapes = [shape for each in arguments["input_type_shape"] for shape in each.values()]
        index = WEIGHT_INPUT.get(operator, 1)
        if len(shapes) > index and len(shapes[index]) >= 3:
            return _kind_of_weight(shapes[index], shapes[0][1] // shapes[index][1])
    return None


def _kind_of_weight(shape: Sequence[int], groups: int) -> str:
    """Of a convolution's weight, (out, in / groups, …)."""
    if groups > 1:
        return "depthwise convolutions"
    return "convolutions 1x1" if all(size == 1 for size in shape[2:]) else "full convolutions"
