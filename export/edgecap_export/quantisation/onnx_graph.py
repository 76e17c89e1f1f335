"""Editing and running an ONNX graph: constants, nodes, order, values. Knows nothing about precision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper, numpy_helper

from edgecap.inference.onnx_session import open_graph

Arrays = dict[str, NDArray[Any]]
GraphRunner = Callable[[Mapping[str, NDArray[Any]]], Arrays]
"""Runs one graph: inputs by name → outputs by name."""
MICROSOFT = "com.microsoft"
"""Domain of ONNX Runtime's own operators (its ContribOperators.md), known to every release that edgecap supports."""


def attributes(node: NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def inner_graphs(node: NodeProto) -> list[GraphProto]:
    """The graphs inside a node, such as a loop's body."""
    return [item.g for item in node.attribute if item.HasField("g")]


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """The nodes of a graph and of the graphs inside them."""
    for node in graph.node:
        yield node
        for inner in inner_graphs(node):
            yield from all_nodes(inner)


def reads(node: NodeProto) -> set[str]:
    """The tensors that a node needs: its inputs, and what the graphs inside it take from outside."""
    names = set(node.input)
    for inner in inner_graphs(node):
        made = {item.name for item in (*inner.input, *inner.initializer)}
        for each in inner.node:
            names |= reads(each) - made
            made.update(each.output)
    return names


class EditableGraph:
    """A copy of a model's graph, with its constants as arrays, that can be changed node by node."""

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
        nodes: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                nodes[name].append(node)
        return nodes

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor that the model states one for; 0 for a size that is not fixed."""
        graph = self._model.graph
        return {
            item.name: tuple(axis.dim_value for axis in item.type.tensor_type.shape.dim)
            for item in (*graph.input, *graph.value_info, *graph.output)
        }

    def constant(self, array: NDArray[Any] | np.generic, hint: str) -> str:
        """Add a constant; returns its name, which begins with `hint`."""
        array = np.asarray(array)
        while (name := f"{hint}#{self._count}") in self.constants:
            self._count += 1
        self.constants[name] = array
        return name

    def add(self, kind: str, inputs: list[str], output: str, name: str = "", domain: str = "", **more: Any) -> str:  # noqa: ANN401
        """Append a node of one output; returns the output's name."""
        node = helper.make_node(kind, inputs, [output], name or f"{kind}:{output}", domain=domain, **more)
        self.nodes.append(node)
        return output

    def add_input(self, name: str, element: int, shape: Sequence[int | str]) -> None:
        """Let the graph take one more tensor; a size that is not fixed has a name."""
        self._model.graph.input.append(helper.make_tensor_value_info(name, element, shape))

    def add_output(self, name: str, element: int, shape: Sequence[int | str]) -> None:
        """Let the graph give one more tensor."""
        self._model.graph.output.append(helper.make_tensor_value_info(name, element, shape))
        self.outputs.add(name)

    def model(self) -> onnx.ModelProto:
        """The model with its nodes in order and without what nothing uses."""
        graph = self._model.graph
        ordered = _ordered(self.nodes, {item.name for item in graph.input} | set(self.constants))
        ordered = _needed(ordered, self.outputs)
        used = {name for node in ordered for name in reads(node)} | self.outputs
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
            if all(name in known for name in reads(node)):
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
            needed.update(reads(node))
    return kept[::-1]


def graph_runner(graph: bytes) -> GraphRunner:
    """A graph in ONNX Runtime on one thread. Raises BundleError where it does not load."""
    session = open_graph(graph)
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run


def encoder_runner(model: onnx.ModelProto, tensors: Iterable[str] = ()) -> Callable[[NDArray[np.float32]], Arrays]:
    """An encoder graph over log-mels (1, n_mels, T) in ONNX Runtime: its outputs and the inner `tensors`, by name."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    known = {item.name for item in (*shown.graph.output, *shown.graph.input)}
    shown.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors if name not in known
    )
    run = graph_runner(shown.SerializeToString())
    length = np.array([1], np.int64)

    def encode(log_mel: NDArray[np.float32]) -> Arrays:
        inputs: Arrays = {"log_mel": log_mel, "memory_length": length}
        return inputs | run(inputs)

    return encode
