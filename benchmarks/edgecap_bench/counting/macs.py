"""Multiply-adds and parameters, counted from what is computed and stored, never from a clock.

Products of matrices and convolutions are counted, attention among them. Biases, norms and activations cost a fraction
of a percent of these and are left out, as is the Fourier transform of the front end.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import BundleError, MissingDependencyError
from edgecap.inference.onnx_session import open_graph

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
WEIGHT_INPUT = {"QLinearConv": 3}
"""Index of a convolution's weight, (out, in / groups, …), among its inputs; 1 for all others."""
FEWEST_PARAMETERS = 32
"""A stored tensor with fewer numbers is a constant of the graph, not a parameter of the network."""
_ELEMENTS = {"tensor(float)": "f4", "tensor(float16)": "f2", "tensor(int64)": "i8", "tensor(int32)": "i4"}


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

    The graph is run once on zeros for the shapes, so operators beyond the ONNX standard are counted too. Raises
    BundleError for a graph that does not run or has a node whose work is not known, MissingDependencyError without the
    package onnx.
    """
    return sum(amount for _, amount in node_multiply_adds(path, sizes or {}).values())


def node_multiply_adds(path: Path, sizes: Mapping[str, int]) -> dict[str, tuple[str, int]]:
    """The nodes that multiply, by name: operator and multiply-adds of one run. Arguments and errors as above."""
    model = read_graph(path)
    for node in model.graph.node:
        if node.op_type == "Einsum" or "Attention" in node.op_type:
            raise BundleError(f"{path.name}: the multiply-adds of the operator {node.op_type} cannot be counted")
    counted = [node for node in model.graph.node if node.op_type in CONVOLUTIONS | PRODUCTS]
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    unknown = {name for node in counted for name in _factors(node)} - set(shapes)
    shapes |= _run_for_shapes(model, unknown, sizes, path)
    return {node.name or node.output[0]: (node.op_type, _multiply_adds(node, shapes)) for node in counted}


def search_multiply_adds(path: Path, beams: int, tokens: int) -> int:
    """Multiply-adds of a search of `tokens` tokens by a graph with the search inside, with all `beams` up to the end.

    Raises BundleError, MissingDependencyError.
    """
    graph = read_graph(path).graph
    inputs = {item.name: [axis.dim_value for axis in item.type.tensor_type.shape.dim] for item in graph.input}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:  # weights that are stored in another form: in float16, or for a table that is used twice
        if node.op_type in {"Cast", "Transpose"} and node.input[0] in shapes:
            shape = shapes[node.input[0]]
            shapes[node.output[0]] = shape if node.op_type == "Cast" else shape[::-1]
    inner = [item.g for node in graph.node if node.op_type == "Loop" for item in node.attribute if item.name == "body"]
    products = [node for body in inner for node in body.node if node.op_type in PRODUCTS]
    weights = sum(math.prod(shapes[node.input[1]]) for node in products)
    _, layers, heads, frames, width = inputs["cross_keys"]
    # at first there is one row, and later each position has a slot for each row, which all rows go through
    steps = [(beams if position else 1, frames + 1 + beams * position) for position in range(tokens)]
    return sum(rows * (weights + 2 * layers * heads * width * places) for rows, places in steps)


def onnx_parameters(paths: Sequence[Path]) -> int:
    """Numbers stored in graphs: tensors of at least one axis and 32 numbers, each tensor once.

    BatchNorm is folded into these, and what two graphs share counts once. Raises BundleError, MissingDependencyError.
    """
    seen: dict[bytes, int] = {}
    for path in paths:
        model = read_graph(path)
        from onnx import numpy_helper

        for tensor in model.graph.initializer:
            count = math.prod(tensor.dims)
            if tensor.dims and count >= FEWEST_PARAMETERS:
                # a transposed copy of an embedding is the same parameters: compare what does not depend on the order
                ordered = np.sort(numpy_helper.to_array(tensor), axis=None).tobytes()
                seen[hashlib.sha256(str(count).encode() + ordered).digest()] = count
    return sum(seen.values())


def onnx_operators(path: Path) -> dict[str, int]:
    """How many nodes of each operator a graph has, those in loops too. Raises BundleError, MissingDependencyError."""
    return dict(sorted(Counter(_operators(read_graph(path).graph)).items()))


def _operators(graph: Any) -> Iterator[str]:  # noqa: ANN401 - onnx has no types
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _operators(attribute.g)


def zero_inputs(session: Any, sizes: Mapping[str, int]) -> dict[str, NDArray[Any]]:  # noqa: ANN401 - onnxruntime has no types
    """Inputs for one run of a graph, all zero but the length of the memory: attention over nothing would be NaN.

    An input with the name of a size is that size.
    """
    feeds = {}
    for node in session.get_inputs():
        shape = [sizes.get(axis, 1) if isinstance(axis, str) else axis or 1 for axis in node.shape]
        value = sizes.get(node.name, int(node.name == "memory_length"))
        feeds[node.name] = np.full(shape, value, np.dtype(_ELEMENTS.get(node.type, "f4")))
    return feeds


def read_graph(path: Path) -> Any:  # noqa: ANN401 - onnx has no types
    """An `onnx.ModelProto`. Raises BundleError, MissingDependencyError."""
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError.for_extra("counting parameters and multiply-adds", "bench") from error
    try:
        return onnx.load(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror or error}); check its name") from error
    except Exception as error:  # protobuf's own error is not among its public names
        raise BundleError(f"{path} is not an ONNX graph; export the model again") from error


def _factors(node: Any) -> tuple[str, str]:  # noqa: ANN401
    """The two tensors whose shapes determine a node's work: one factor, and the output."""
    index = WEIGHT_INPUT.get(node.op_type, 1) if node.op_type in CONVOLUTIONS else 0
    return node.input[index], node.output[0]


def _run_for_shapes(model: Any, names: set[str], sizes: Mapping[str, int], path: Path) -> dict[str, tuple[int, ...]]:  # noqa: ANN401
    """Shapes of tensors by name, from one run on zeros with these tensors as outputs. Raises BundleError."""
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(type(model.graph.output[0])(name=name) for name in sorted(names - known))
    session = open_graph(model.SerializeToString(), optimise=False)  # optimised, the names would be gone
    feeds = zero_inputs(session, sizes)
    shapes = {name: feed.shape for name, feed in feeds.items()}
    wanted = sorted(names - set(shapes))
    try:
        outputs = session.run(wanted, feeds)
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise BundleError(f"{path.name} does not run on zeros, so its work cannot be counted ({error})") from error
    return shapes | {name: output.shape for name, output in zip(wanted, outputs, strict=True)}


def _multiply_adds(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int:  # noqa: ANN401
    factor, output = (shapes[name] for name in _factors(node))
    if node.op_type in CONVOLUTIONS:
        return math.prod(output) * math.prod(factor[1:])
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return math.prod(output) * factor[-2 if transposed else -1]
