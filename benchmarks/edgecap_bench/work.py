"""Multiply-adds and parameters, counted from what is computed and stored, never from a clock.

Counted are products of matrices and convolutions, attention among them: a bias, a norm or an activation costs a
fraction of a percent of these and is left out, as is the front end's Fourier transform.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgecap.errors import BundleError

CONVOLUTIONS = {"Conv", "ConvInteger", "QLinearConv", "FusedConv", "NhwcFusedConv"}
PRODUCTS = {"MatMul", "Gemm", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat",
            "FusedMatMul", "FusedGemm", "QGemm", "MatMulNBits"}
CARRIERS = {"Identity", "Constant", "Cast", "QuantizeLinear", "DequantizeLinear", "Transpose", "Reshape"}
WEIGHT_PLACE = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
"""Where a product's second factor stands among its inputs; 1 for all others."""
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
    """Multiply-adds of one run of a graph; `sizes` gives its named axes. Raises BundleError for an unknown shape."""
    import onnx

    model = onnx.load(str(path))
    for item in model.graph.input:
        for axis in item.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_value = (sizes or {}).get(axis.dim_param, 1)
    del model.graph.value_info[:]  # shapes that the exporter noted with the axes still open
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = _shapes(graph)
    return sum(_node(node, shapes, path) for node in graph.node)


def onnx_parameters(paths: list[Path]) -> int:
    """Numbers stored in graphs: tensors of at least one axis and 32 numbers, each tensor once.

    What training normalises with is folded into these; what two graphs share counts once.
    """
    import onnx

    seen: dict[bytes, int] = {}
    for path in paths:
        for tensor in onnx.load(str(path)).graph.initializer:
            count = math.prod(tensor.dims)
            if tensor.dims and count >= 32:
                content = onnx.numpy_helper.to_array(tensor)
                # a transposed copy of an embedding is the same parameters: compare what does not depend on the order
                key = hashlib.sha256(str(count).encode() + _ordered(content)).digest()
                seen[key] = count
    return sum(seen.values())


def _ordered(array: Any) -> bytes:  # noqa: ANN401
    import numpy as np

    return np.sort(array, axis=None).tobytes()


def _shapes(graph: Any) -> dict[str, Shape]:  # noqa: ANN401
    """Known shapes by name; a dimension that stayed open is -1."""
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    for item in (*graph.input, *graph.value_info, *graph.output):
        if item.type.tensor_type.HasField("shape"):
            shapes[item.name] = tuple(
                axis.dim_value if axis.HasField("dim_value") else -1 for axis in item.type.tensor_type.shape.dim
            )
    return shapes


def _node(node: Any, shapes: dict[str, Shape], path: Path) -> int:  # noqa: ANN401
    if node.op_type in CONVOLUTIONS:
        weight = _shape(node, node.input[WEIGHT_PLACE.get(node.op_type, 1)], shapes, path)
        out = _shape(node, node.output[0], shapes, path)
        return math.prod(out) * math.prod(weight[1:])
    if node.op_type in PRODUCTS:
        first = _shape(node, node.input[0], shapes, path)
        out = _shape(node, node.output[0], shapes, path)
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return math.prod(out) * first[-2 if transposed else -1]
    if node.op_type == "Einsum" or "Attention" in node.op_type:
        raise BundleError(f"{path.name}: the work of a node {node.op_type} cannot be counted yet")
    return 0


def _shape(node: Any, name: str, shapes: dict[str, Shape], path: Path) -> Shape:  # noqa: ANN401
    shape = shapes.get(name)
    if shape is None or -1 in shape:
        raise BundleError(f"{path.name}: the shape of {name} is not known, so the work of its {node.op_type} cannot "
                          "be counted")
    return shape
