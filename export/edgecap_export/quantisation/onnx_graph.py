"""Editing an ONNX graph: constants, nodes, order. Knows nothing about precision."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
"""Domain of ONNX Runtime's own operators (its ContribOperators.md), known to every release edgecap takes."""


def attributes(node: NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


class EditableGraph:
    """A copy of a model's graph with its constants as arrays, to take apart and to put together."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self.nodes: list[NodeProto] = list(self._model.graph.node)
        self.constants = {item.name: numpy_helper.to_array(item) for item in self._model.graph.initializer}
        self.outputs = {item.name for item in self._model.graph.output}
        self._count = 0

    def producers(self) -> dict[str, NodeProto]:
        """Tensor → the node that makes it."""
        return {name: node for node in self.nodes for name in node.output}

    def consumers(self) -> dict[str, list[NodeProto]]:
        """Tensor → the nodes that take it."""
        found: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                found[name].append(node)
        return found

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor that the model states one for; 0 for a size that is not fixed."""
        graph = self._model.graph
        return {
            item.name: tuple(axis.dim_value for axis in item.type.tensor_type.shape.dim)
            for item in (*graph.input, *graph.value_info, *graph.output)
        }

    def constant(self, array: NDArray[Any] | np.generic, hint: str) -> str:
        """Add a constant; its name."""
        array = np.asarray(array)
        while (name := f"{hint}#{self._count}") in self.constants:
            self._count += 1
        self.constants[name] = array
        return name

    def add(self, kind: str, inputs: list[str], output: str, name: str = "", domain: str = "", **more: Any) -> str:  # noqa: ANN401
        """Append a node of one output; the output's name."""
        node = helper.make_node(kind, inputs, [output], name or f"{kind}:{output}", domain=domain, **more)
        self.nodes.append(node)
        return output

    def model(self) -> onnx.ModelProto:
        """The model with its nodes in order and without what nothing uses."""
        graph = self._model.graph
        ordered = _ordered(self.nodes, {item.name for item in graph.input} | set(self.constants))
        ordered = _needed(ordered, self.outputs)
        used = {name for node in ordered for name in node.input} | self.outputs
        made = {name for node in ordered for name in node.output}
        stated = [item for item in graph.value_info if item.name in made]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.value_info.extend(stated)
        graph.node.extend(ordered)
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(array), name) for name, array in self.constants.items() if name in used
        )
        if MICROSOFT in {node.domain for node in ordered} and MICROSOFT not in {
            item.domain for item in self._model.opset_import
        }:
            self._model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
        return self._model


def _ordered(nodes: list[NodeProto], known: set[str]) -> list[NodeProto]:
    """Nodes so that each comes after what it needs. Raises ValueError for a loop or a missing tensor."""
    known, ordered, waiting = known | {""}, [], nodes
    while waiting:
        later = []
        for node in waiting:
            if all(name in known for name in node.input):
                ordered.append(node)
                known.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise ValueError(f"node {waiting[0].name} needs a tensor that nothing makes")
        waiting = later
    return ordered


def _needed(ordered: list[NodeProto], outputs: set[str]) -> list[NodeProto]:
    needed, kept = set(outputs), []
    for node in reversed(ordered):
        if needed & set(node.output):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1]
