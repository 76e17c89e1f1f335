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
    import onnx

    model = onnx.load(str(path))
    counted = [node for node in model.graph.node if node.op_type in CONVOLUTIONS | PRODUCTS]
    for node in model.graph.node:
        if node.op_type == "Einsum" or "Attention" in node.op_type:
            raise BundleError(f"{path.name}: the work of a node {node.op_type} cannot be counted yet")
    shapes = {item.name: tuple(item.dims) for item in model.graph.initializer}
    shapes |= _shapes(model, {name for node in counted for name in _needed(node)} - set(shapes), sizes or {}, path)
    return sum(_node(node, shapes) for node in counted)


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


def _needed(node: Any) -> tuple[str, ...]:  # noqa: ANN401
    """The tensors whose shapes tell a node's work."""
    factor = node.input[WEIGHT_PLACE.get(node.op_type, 1)] if node.op_type in CONVOLUTIONS else node.input[0]
    return factor, node.output[0]


def _shapes(model: Any, names: set[str], sizes: Mapping[str, int], path: Path) -> dict[str, Shape]:  # noqa: ANN401
    """Shapes of tensors by name, from one run on zeros. Changes the model."""
    import numpy as np
    import onnx

    from edgecap.onnx_session import import_onnxruntime

    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # the names must stay
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    feeds = {}
    for item in model.graph.input:
        kind = item.type.tensor_type
        dims = [sizes.get(axis.dim_param, 1) if axis.dim_param else axis.dim_value for axis in kind.shape.dim]
        feeds[item.name] = np.zeros(dims, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    given = {name: tuple(feed.shape) for name, feed in feeds.items()}
    asked = sorted(names - set(given))
    there = {item.name for item in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in asked if name not in there)
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = session.run(asked, feeds)
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise BundleError(f"{path.name} does not run on zeros, so its work cannot be counted "
                          f"({(str(error).splitlines() or [type(error).__name__])[0]})") from error
    return given | {name: tuple(array.shape) for name, array in zip(asked, found, strict=True)}


def _node(node: Any, shapes: dict[str, Shape]) -> int:  # noqa: ANN401
    factor, out = (shapes[name] for name in _needed(node))
    if node.op_type in CONVOLUTIONS:
        return math.prod(out) * math.prod(factor[1:])
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return math.prod(out) * factor[-2 if transposed else -1]
