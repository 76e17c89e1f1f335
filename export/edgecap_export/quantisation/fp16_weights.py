"""Float16 for stored weights: half the file, the same arithmetic.

ONNX Runtime widens the constants when it loads a graph (its constant folding), so nothing is slower afterwards and
a processor without float16 arithmetic runs it too. x86-64 has none in ONNX Runtime; on Arm it is not used either.
"""

from __future__ import annotations

import numpy as np
import onnx

from edgecap_export.quantisation.onnx_graph import EditableGraph

SMALLEST = 512
"""Values below which a constant stays as it is: it saves less than its node costs."""


def halve_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its large float32 constants stored as float16; one that float16 cannot hold stays."""
    graph = EditableGraph(model)
    largest = float(np.finfo(np.float16).max)
    for name, array in list(graph.constants.items()):
        if array.dtype == np.float32 and array.size >= SMALLEST and float(np.abs(array).max()) <= largest:
            del graph.constants[name]
            stored = graph.constant(array.astype(np.float16), "half")
            graph.add("Cast", [stored], name, to=onnx.TensorProto.FLOAT)
    return graph.model()
