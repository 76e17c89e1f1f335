"""Weights in fewer bits: dynamic int8 for matrix products and tables, float16 for what is stored.

Products (decoder, memory projection, squeeze-excite) compute the range of their input at run time
(`DynamicQuantizeMatMul`), so nothing is calibrated; weights are signed bytes with one scale for each column. Products
of two activations (attention) stay in float. Float16 halves the file and leaves the arithmetic as it is: ONNX Runtime
widens the constants when it loads a graph (its constant folding), so nothing is slower afterwards and a processor
without float16 arithmetic runs it too. x86-64 has none in ONNX Runtime; on Arm it is not used either.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto

from edgecap_export.quantisation.onnx_graph import MICROSOFT, EditableGraph, attributes

SMALLEST_PRODUCT = 2_048
"""Weights below which computing the range of the input costs more than the product."""
SMALLEST_TABLE = 32_768
"""Values below which a table of embeddings stays in float."""
SMALLEST_HALVED = 512
"""Values below which a constant stays in float32: float16 saves less than its node costs."""


def quantise_products(model: onnx.ModelProto, keep: tuple[str, ...] = ()) -> onnx.ModelProto:
    """The graph with its products with constant weights in int8, except those of the nodes named in `keep`."""
    graph = EditableGraph(model)
    _fold_transposes(graph)
    takers = graph.consumers()
    merged: set[str] = set()
    nodes, graph.nodes = graph.nodes, []
    for node in nodes:
        if node.name in merged:
            continue
        if node.op_type == "Gather" and node.name not in keep and _is_table(node, graph):
            _quantise_table(node, graph)
            continue
        weight = product_weight(node, graph)
        if weight is None or weight.size < SMALLEST_PRODUCT or node.name in keep:
            graph.nodes.append(node)
            continue
        bias, output = node.input[2] if len(node.input) > 2 else "", node.output[0]
        after = takers[output]
        if not bias and len(after) == 1 and after[0].op_type == "Add" and output not in graph.outputs:
            other = next(name for name in after[0].input if name != output)
            if graph.constants.get(other, np.zeros(0)).shape == weight.shape[1:]:
                bias, output = other, after[0].output[0]
                merged.add(after[0].name)
        scales = np.maximum(np.abs(weight).max(axis=0) / 127.0, 1e-8).astype(np.float32)
        rounded = np.clip(np.rint(weight / scales), -127, 127).astype(np.int8)
        inputs = [node.input[0], graph.constant(rounded, "weight"), graph.constant(scales, "scales"), "", bias]
        graph.add("DynamicQuantizeMatMul", inputs, output, node.name, MICROSOFT)
    return graph.model()


def _fold_transposes(graph: EditableGraph) -> None:
    """Make constants of transposed constants, which are weights of products too."""
    for node in [each for each in graph.nodes if each.op_type == "Transpose" and each.input[0] in graph.constants]:
        turned = np.transpose(graph.constants[node.input[0]], attributes(node)["perm"])
        graph.constants[node.output[0]] = np.ascontiguousarray(turned)
        graph.nodes.remove(node)


def product_weight(node: NodeProto, graph: EditableGraph) -> NDArray[np.float32] | None:
    """The constant (K, N) that a node multiplies its input with; None where it is not such a product."""
    if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in graph.constants:
        return None
    weight = graph.constants[node.input[1]]
    more = attributes(node)
    plain = more.get("alpha", 1.0) == 1.0 and more.get("beta", 1.0) == 1.0 and not more.get("transA", 0)
    if weight.ndim != 2 or weight.dtype != np.float32 or not plain:
        return None
    return np.ascontiguousarray(weight.T) if more.get("transB", 0) else weight


def halve_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its large float32 constants stored as float16; one that float16 cannot hold stays."""
    graph = EditableGraph(model)
    largest = float(np.finfo(np.float16).max)
    for name, array in list(graph.constants.items()):
        if array.dtype == np.float32 and array.size >= SMALLEST_HALVED and float(np.abs(array).max()) <= largest:
            del graph.constants[name]
            graph.add("Cast", [graph.constant(array.astype(np.float16), "half")], name, to=onnx.TensorProto.FLOAT)
    return graph.model()


def _is_table(node: NodeProto, graph: EditableGraph) -> bool:
    """Whether a node picks rows of a large constant table: the embedding of the words."""
    table = graph.constants.get(node.input[0], np.zeros(0))
    large = table.ndim == 2 and table.dtype == np.float32 and table.size >= SMALLEST_TABLE
    return large and not attributes(node).get("axis", 0)


def _quantise_table(node: NodeProto, graph: EditableGraph) -> None:
    """Rows of signed bytes with one scale each, widened after they are picked."""
    table, output = graph.constants[node.input[0]], node.output[0]
    scales = np.maximum(np.abs(table).max(axis=1, keepdims=True) / 127.0, 1e-8).astype(np.float32)
    rounded = graph.constant(np.clip(np.rint(table / scales), -127, 127).astype(np.int8), "table")
    picked = graph.add("Gather", [rounded, node.input[1]], f"{output}@bytes", node.name)
    wide = graph.add("Cast", [picked], f"{output}@wide", to=onnx.TensorProto.FLOAT)
    scale = graph.add("Gather", [graph.constant(scales, "scales"), node.input[1]], f"{output}@scale")
    graph.add("Mul", [wide, scale], output)
