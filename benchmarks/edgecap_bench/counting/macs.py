"""Multiply-adds and parameters, counted from what is computed and stored, never from a clock.

Counted are products of matrices and convolutions, attention among them: a bias, a norm or an activation costs a
fraction of a percent of these and is left out, as is the front end's Fourier transform.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import BundleError
from edgecap_bench.counting.onnx_file import Node, OnnxFile, read_graph

CONVOLUTIONS = {"Conv", "ConvInteger", "QLinearConv", "FusedConv", "NhwcFusedConv"}
PRODUCTS = {
    "MatMul",
    "Gemm",
    "MatMulInteger",
    "QLinearMatMul",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
    "FusedMatMul",
    "FusedGemm",
    "QGemm",
    "MatMulNBits",
}
WEIGHT_PLACE = {"QLinearConv": 3}
"""Where a convolution's weight, (out, in / groups, …), stands among its inputs; 1 for all others."""
Shape = tuple[int, ...]


def torch_multiply_adds(run: Callable[[], object]) -> int:
    """Multiply-adds that PyTorch does in `run`, attention in plain products so that the counter sees it."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops()) // 2


def onnx_multiply_adds(path: Path, sizes: Mapping[str, int] | None = None) -> int:
    """Multiply-adds of one run of a graph; `sizes` gives its named axes.

    The graph is run once on zeros for the shapes, so that operators beyond the ONNX standard are no obstacle. Raises
    BundleError for one that does not run or whose work cannot be told.
    """
    graph = read_graph(path)
    counted = [node for node in graph.nodes if node.operator in CONVOLUTIONS | PRODUCTS]
    for node in graph.nodes:
        if node.operator == "Einsum" or "Attention" in node.operator:
            raise BundleError(f"{path.name}: the work of a node {node.operator} cannot be counted yet")
    shapes = {tensor.name: tensor.shape for tensor in graph.tensors}
    shapes |= _shapes(graph, {name for node in counted for name in _needed(node)} - set(shapes), sizes or {}, path)
    return sum(_node(node, shapes) for node in counted)


def onnx_parameters(paths: list[Path]) -> int:
    """Numbers stored in graphs: tensors of at least one axis and 32 numbers, each tensor once.

    What training normalises with is folded into these; what two graphs share counts once.
    """
    seen: dict[bytes, int] = {}
    for path in paths:
        for tensor in read_graph(path).tensors:
            if tensor.shape and tensor.count >= 32:
                # a transposed copy of an embedding is the same parameters: compare what does not depend on the order
                ordered = np.sort(tensor.array()).tobytes()
                seen[hashlib.sha256(str(tensor.count).encode() + ordered).digest()] = tensor.count
    return sum(seen.values())


def onnx_operators(path: Path) -> dict[str, int]:
    """How many nodes of each operator a graph has, by name."""
    return dict(sorted(Counter(node.operator for node in read_graph(path).nodes).items()))


def zeros(graph: OnnxFile, sizes: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """Inputs for one run of a graph, all zero save the length of the memory: of nothing, attention would be NaN."""
    feeds = {}
    for value in graph.inputs:
        shape = [sizes.get(axis, 1) if isinstance(axis, str) else axis or 1 for axis in value.shape]
        feeds[value.name] = np.full(shape, value.name == "memory_length", value.type)
    return feeds


def _needed(node: Node) -> tuple[str, ...]:
    """The tensors whose shapes tell a node's work."""
    factor = node.inputs[WEIGHT_PLACE.get(node.operator, 1)] if node.operator in CONVOLUTIONS else node.inputs[0]
    return factor, node.outputs[0]


def _shapes(graph: OnnxFile, names: set[str], sizes: Mapping[str, int], path: Path) -> dict[str, Shape]:
    """Shapes of tensors by name, from one run on zeros."""
    from edgecap.inference.onnx_session import import_onnxruntime

    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # the names must stay
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    feeds = zeros(graph, sizes)
    given = {name: tuple(feed.shape) for name, feed in feeds.items()}
    asked = sorted(names - set(given))
    there = {value.name for value in graph.outputs}
    model = graph.with_outputs([name for name in asked if name not in there])
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        found = session.run(asked, feeds)
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise BundleError(
            f"{path.name} does not run on zeros, so its work cannot be counted "
            f"({(str(error).splitlines() or [type(error).__name__])[0]})"
        ) from error
    return given | {name: tuple(array.shape) for name, array in zip(asked, found, strict=True)}


def _node(node: Node, shapes: dict[str, Shape]) -> int:
    factor, out = (shapes[name] for name in _needed(node))
    if node.operator in CONVOLUTIONS:
        return math.prod(out) * math.prod(factor[1:])
    return math.prod(out) * factor[-2 if node.integers.get("transA") else -1]
