"""What the processor can do: multiply-adds a second of large products of matrices in ONNX Runtime."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import MissingDependencyError
from edgecap.inference.onnx_session import open_graph
from edgecap_bench.profiling.results import Arithmetic

SIZE = 512
"""Rows, columns and depth: the three matrices of floats (3 MB) fit into a second-level cache or nearly so."""
ROUNDS = 15


def peak_rates(threads: int) -> dict[Arithmetic, float]:
    """The fastest of several products in float32, and of unsigned by signed 8-bit integers.

    Raises MissingDependencyError without the package onnx.
    """
    generator = np.random.default_rng(0)
    floats = generator.standard_normal((2, SIZE, SIZE)).astype(np.float32)
    integers = generator.integers(0, 100, (2, SIZE, SIZE))
    return {
        "float32": _rate("MatMul", floats[0], floats[1], threads),
        "int8": _rate("MatMulInteger", integers[0].astype(np.uint8), integers[1].astype(np.int8), threads),
    }


def _rate(operator: str, left: NDArray[Any], right: NDArray[Any], threads: int) -> float:
    """Multiply-adds a second of one operator; the right factor is a weight, arranged when it is loaded."""
    session = open_graph(_graph(operator, left, right), threads)
    feed = {"left": left}
    seconds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        session.run(None, feed)
        seconds.append(time.perf_counter() - begin)
    return float(left.shape[0] * left.shape[1] * right.shape[1] / min(seconds))


def _graph(operator: str, left: NDArray[Any], right: NDArray[Any]) -> bytes:
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise MissingDependencyError.for_extra("a profile", "bench") from error
    kinds = (
        (TensorProto.FLOAT, TensorProto.FLOAT) if left.dtype == np.float32 else (TensorProto.UINT8, TensorProto.INT32)
    )
    ends = [
        helper.make_tensor_value_info(name, kind, (SIZE, SIZE))
        for name, kind in zip(("left", "product"), kinds, strict=True)
    ]
    node = helper.make_node(operator, ["left", "right"], ["product"])
    graph = helper.make_graph([node], "product", ends[:1], ends[1:], [numpy_helper.from_array(right, "right")])
    opset = helper.make_opsetid("", 17)
    data: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    return data
