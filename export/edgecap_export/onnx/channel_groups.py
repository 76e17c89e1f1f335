"""Wide maps a few channels at a time, so that they stay in a processor's second-level cache.

An inverted bottleneck (MobileNetV2, arXiv 1801.04381) widens a map sixfold, runs over it once for each of four
operators, and narrows it again; channels meet in neither the activations nor the depthwise convolution between. Where
the wide map is larger than a cache, these operators run for one group of channels after another, and the narrowing
convolution adds up what the groups give. Sums of floats are so taken in another order; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import onnx
from onnx import NodeProto

from edgecap_export.quantisation.onnx_graph import EditableGraph, attributes

GROUP_VALUES = 200_000
"""Values of a group's map at most, 0.8 MB: caches of the second level have 0.5 to 2 MB."""
BLOCK = 16
"""Channels that ONNX Runtime lays side by side at most; a group has a multiple of them."""
CHANNEL_BY_CHANNEL = {"Sigmoid", "Relu", "QuickGelu", "Mul"}


@dataclass(frozen=True)
class _Region:
    """A widening convolution and what follows it channel by channel."""

    widen: NodeProto
    nodes: list[NodeProto]
    """In order, `widen` the first."""
    result: str
    """The one tensor that leaves the region."""
    takers: list[NodeProto]
    channels: int


def grouped(model: onnx.ModelProto, largest: int = GROUP_VALUES) -> onnx.ModelProto:
    """A model of which no group's map has more than `largest` values, or the least that a group can have.

    What is not an inverted bottleneck in float stays as it is.
    """
    graph = EditableGraph(model)
    shapes, changed = graph.shapes(), False
    for region in list(_regions(graph)):
        size = shapes.get(region.widen.output[0], ())
        if len(size) != 4 or not all(size) or not _can_split(graph, region, shapes):
            continue
        groups = min(-(-int(np.prod(size)) // largest), region.channels // BLOCK)
        if groups > 1:
            _Split(graph, region, [slice(*ends) for ends in ends_of_groups(region.channels, groups)]).run()
            changed = True
    return graph.model() if changed else model


def ends_of_groups(channels: int, groups: int) -> list[tuple[int, int]]:
    """The first channel of each group and the one behind its last."""
    cuts = [BLOCK * round(channels / BLOCK * group / groups) for group in range(groups)]
    return list(pairwise([*cuts, channels]))


def _regions(graph: EditableGraph) -> Iterator[_Region]:
    takers = graph.consumers()
    for node in graph.nodes:
        if not _is_pointwise(graph, node):
            continue
        channels = len(graph.constants[node.input[1]])
        nodes, inside, depthwise = [node], {node.output[0]}, 0
        for other in graph.nodes:  # each after what it needs
            maps = [name for name in other.input if name not in graph.constants]
            if other is node or not maps or not inside.issuperset(maps):
                continue
            if _is_depthwise(graph, other, channels):
                depthwise += 1
            elif other.op_type not in CHANNEL_BY_CHANNEL or len(maps) != len(other.input):
                continue
            nodes.append(other)
            inside.update(other.output)
        known = {id(each) for each in nodes}  # comparing nodes themselves takes seconds
        outside = {name: [each for each in takers[name] if id(each) not in known] for name in inside}
        leaving = [name for name in inside if name in graph.outputs or outside[name]]
        if depthwise and len(leaving) == 1 and leaving[0] not in graph.outputs:
            yield _Region(node, nodes, leaving[0], outside[leaving[0]], channels)


def _is_pointwise(graph: EditableGraph, node: NodeProto) -> bool:
    """Whether a node is a 1x1 convolution over all channels with stored weights."""
    stored = node.op_type == "Conv" and len(node.input) == 3 and all(name in graph.constants for name in node.input[1:])
    return stored and attributes(node).get("group", 1) == 1 and graph.constants[node.input[1]].shape[2:] == (1, 1)


def _is_depthwise(graph: EditableGraph, node: NodeProto, channels: int) -> bool:
    stored = node.op_type == "Conv" and len(node.input) == 3 and all(name in graph.constants for name in node.input[1:])
    return stored and attributes(node).get("group", 1) == channels == len(graph.constants[node.input[1]])


def _can_split(graph: EditableGraph, region: _Region, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether all that takes the wide map can take it in groups: means of channels, a scale for each and its sum."""
    takers = graph.consumers()
    for node in region.takers:
        if _is_mean(graph, node):
            continue
        gates = [name for name in node.input if name != region.result]
        narrow = takers[node.output[0]]
        gated = node.op_type == "Mul" and len(gates) == 1 and shapes.get(gates[0]) == (1, region.channels, 1, 1)
        if not (gated and len(narrow) == 1 and _is_pointwise(graph, narrow[0])):
            return False
    return True


def _is_mean(graph: EditableGraph, node: NodeProto) -> bool:
    """Whether a node gives the mean of each channel, shape (1, C, 1, 1)."""
    if node.op_type == "GlobalAveragePool":
        return True
    axes = graph.constants.get(node.input[1]) if node.op_type == "ReduceMean" and len(node.input) == 2 else None
    return axes is not None and sorted(np.ravel(axes) % 4) == [2, 3] and bool(attributes(node).get("keepdims", 1))


class _Split:
    """Puts a region's groups of channels in its place."""

    def __init__(self, graph: EditableGraph, region: _Region, parts: list[slice]) -> None:
        """`parts`: the channels of each group."""
        self.graph, self.region, self.parts = graph, region, parts
        self.gone: list[NodeProto] = [*region.nodes, *region.takers]

    def run(self) -> None:
        """Rewrite the graph."""
        results = [self._clone(number, part) for number, part in enumerate(self.parts)]
        for node in self.region.takers:
            if _is_mean(self.graph, node):
                self._averaged(node, results)
            else:
                self._narrowed(node, results)
        self.graph.nodes = [node for node in self.graph.nodes if not any(node is each for each in self.gone)]

    def _clone(self, number: int, part: slice) -> str:
        """The region for some channels; returns the name of its result."""
        graph, made = self.graph, {name for node in self.region.nodes for name in node.output}
        for node in self.region.nodes:
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.name = f"{node.name}@{number}"
            for index, name in enumerate(node.input):
                if name in made:
                    copy.input[index] = f"{name}@{number}"
                elif name in graph.constants and node.op_type == "Conv":
                    copy.input[index] = graph.constant(graph.constants[name][part], "group")
            copy.output[0] = f"{node.output[0]}@{number}"
            for item in copy.attribute:
                if item.name == "group" and node is not self.region.widen:
                    item.i = part.stop - part.start
            graph.nodes.append(copy)
        return f"{self.region.result}@{number}"

    def _averaged(self, node: NodeProto, results: list[str]) -> None:
        """The means of each group's channels, side by side."""
        for number, result in enumerate(results):
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.name, copy.input[0], copy.output[0] = f"{node.name}@{number}", result, f"{node.output[0]}@{number}"
            self.graph.nodes.append(copy)
        parts = [f"{node.output[0]}@{number}" for number in range(len(results))]
        self.graph.add("Concat", parts, node.output[0], axis=1)

    def _narrowed(self, node: NodeProto, results: list[str]) -> None:
        """Channels scaled and narrowed, group by group, and the sum of that."""
        graph = self.graph
        (narrow,) = graph.consumers()[node.output[0]]
        (gate,) = (name for name in node.input if name != self.region.result)
        weight, bias = (graph.constants[name] for name in narrow.input[1:])
        gates = [f"{gate}@{number}" for number in range(len(results))]
        sizes = graph.constant(np.array([part.stop - part.start for part in self.parts], np.int64), "sizes")
        graph.nodes.append(onnx.helper.make_node("Split", [gate, sizes], gates, f"Split:{gate}", axis=1))
        total, kept = "", attributes(narrow)
        for number, (result, each) in enumerate(zip(results, gates, strict=True)):
            scaled = graph.add("Mul", [result, each], f"{node.output[0]}@{number}")
            own = bias if number == 0 else np.zeros_like(bias)
            inputs = [scaled, graph.constant(weight[:, self.parts[number]], "group"), graph.constant(own, "group")]
            made = graph.add("Conv", inputs, f"{narrow.output[0]}@{number}", **kept)
            last = number == len(results) - 1
            output = narrow.output[0] if last else f"{narrow.output[0]}@sum{number}"
            total = graph.add("Add", [total, made], output) if total else made
        self.gone.append(narrow)
