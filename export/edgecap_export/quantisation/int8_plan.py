"""Which convolutions of an encoder's float graph a recipe puts into static int8, which stay in float, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import NodeProto

from edgecap_export.quantisation.onnx_graph import EditableGraph, attributes
from edgecap_export.recipes import ConvKind, ExportRecipe

POINTWISE_OPERATORS = {"Mul", "Add", "Sigmoid", "Relu", "QuickGelu"}
"""Operators that work value by value, so that they take maps in any layout as long as all inputs share it."""
FIRST = "among the first, whose maps are so large that bytes gain no time"
PLACES = 500
"""Places of a map from which on its channels are scaled while they become bytes, each by a call of its own."""
FEW = "of so few channels that making bytes of them takes longer than bytes save"


def kind_of(node: NodeProto, weight: NDArray[Any]) -> ConvKind:
    """What kind of convolution a node is."""
    if attributes(node).get("group", 1) > 1:
        return "depthwise"
    return "pointwise" if weight.shape[2:] == (1, 1) else "plain"


@dataclass(frozen=True)
class Excite:
    """The product of a squeeze-excite: a map times one number for each channel."""

    map: str
    gate: str
    """One number for each of `channels`."""
    channels: int


@dataclass(frozen=True)
class Int8Plan:
    """Which nodes become int8 and why the others do not, and the tensors whose ranges that needs."""

    quantised: dict[str, str]
    """Name of a convolution → the tensor that it gives, its ReLU included."""
    excites: dict[str, Excite]
    """Product of a squeeze-excite that becomes bytes as it is computed, where the map is in float → its factors."""
    stays: dict[str, str]
    """Name of a convolution → why it stays in float."""
    tensors: tuple[str, ...]


def plan(model: onnx.ModelProto, recipe: ExportRecipe) -> Int8Plan:
    """What `recipe` makes of a simplified encoder graph."""
    graph = EditableGraph(model)
    makers, takers, shapes = graph.producers(), graph.consumers(), graph.shapes()
    excites: dict[str, Excite] = {}
    quantised: dict[str, str] = {}
    stays: dict[str, str] = {}
    tensors: dict[str, None] = {}
    pooled = pooled_tensors(graph)
    for node in graph.nodes:
        if node.op_type != "Conv":
            continue
        weight = graph.constants[node.input[1]]
        kind = kind_of(node, weight)
        if node.output[0] in pooled:
            stays[node.name] = "works on one value for each channel: nothing to gain"
        elif kind not in recipe.convolutions:
            stays[node.name] = f"{kind} convolutions stay in float in this recipe"
        elif len(quantised) + sum(reason == FIRST for reason in stays.values()) < recipe.float_first:
            stays[node.name] = FIRST
        elif kind == "pointwise" and weight.shape[1] < recipe.least_inputs:
            stays[node.name] = FEW
        elif node.name in recipe.keep:
            stays[node.name] = "kept by the recipe"
        else:
            after = takers[node.output[0]]
            output = after[0].output[0] if len(after) == 1 and after[0].op_type == "Relu" else node.output[0]
            quantised[node.name] = output
            tensors |= dict.fromkeys((node.input[0], output))
            excite = _excite(makers.get(node.input[0]), pooled, weight.shape[1])
            alone = len(takers[node.input[0]]) == 1
            if excite is not None and alone and math.prod(shapes.get(excite.map, ())[2:]) >= PLACES:
                excites[node.input[0]] = excite
    return Int8Plan(quantised, excites, stays, tuple(tensors))


def _excite(node: NodeProto | None, pooled: set[str], channels: int) -> Excite | None:
    """What `node` scales by what, where it is the product of a squeeze-excite."""
    if node is None or node.op_type != "Mul":
        return None
    gates = [name for name in node.input if name in pooled]
    maps = [name for name in node.input if name not in pooled]
    return Excite(maps[0], gates[0], channels) if len(gates) == 1 and len(maps) == 1 else None


def pooled_tensors(graph: EditableGraph) -> set[str]:
    """Tensors of one value for each channel: what comes out of a pooling, until it meets a map."""
    names: set[str] = set()
    for node in graph.nodes:
        maps = [name for name in node.input if name not in graph.constants]
        if node.op_type == "GlobalAveragePool" or (
            node.op_type in POINTWISE_OPERATORS | {"Conv"} and all(name in names for name in maps)
        ):
            names.update(node.output)
    return names
