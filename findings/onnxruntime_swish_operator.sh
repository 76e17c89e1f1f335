#!/usr/bin/env bash
# On ONNX Runtime's processors the operator `Swish` takes three times as long as `Sigmoid` and `Mul` written out.
#
# Expected: ONNX has x * sigmoid(x), the activation of EfficientNet, as one operator since opset 24. A runtime that knows
# it is at least as fast with it as with the two that it replaces.
# Instead: ONNX Runtime puts the standard's definition in its place, a product with alpha, a sigmoid and a product, which
# it no longer recognises; of `Sigmoid` and `Mul` it makes its own QuickGelu. That takes 0.4 ns a value, `Swish` 1.2. So a
# model that is exported anew with the newer operator becomes slower, with the same bits in its outputs.
# Seen: onnxruntime 1.32.0, onnx 1.23.2, Linux x86-64 (an Intel Xeon with AVX-512), one thread.
# What to do: write the two operators out, or QuickGelu of com.microsoft with alpha 1; edgecap does.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
venv/bin/python - <<'PYTHON'
import importlib.metadata
import statistics
import sys
import time

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, helper

print(*(f"{name} {importlib.metadata.version(name)}" for name in ("onnxruntime", "onnx", "numpy")), sep=", ")
VALUES = 1_000_000


def session(name: str, *nodes: NodeProto) -> onnxruntime.InferenceSession:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, VALUES]) for name in ("x", "y")]
    graph = helper.make_graph([*nodes], "activation", ends[:1], ends[1:])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 24)])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = f"{name}.onnx"
    options.log_severity_level = 3  # it warns that such a file is for this machine alone
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


sessions = {
    "Sigmoid and Mul": session(
        "two", helper.make_node("Sigmoid", ["x"], ["gate"]), helper.make_node("Mul", ["x", "gate"], ["y"])
    ),
    "Swish": session("one", helper.make_node("Swish", ["x"], ["y"])),
}
x = np.random.default_rng(0).standard_normal((1, VALUES)).astype(np.float32)
outputs, times = {}, {name: [] for name in sessions}
for _ in range(40):  # in turns, so that what else runs slows both
    for name, each in sessions.items():
        began = time.process_time()
        (outputs[name],) = each.run(None, {"x": x})
        times[name].append(time.process_time() - began)
median = {name: statistics.median(taken) for name, taken in times.items()}
for (name, seconds), file in zip(median.items(), ("two", "one"), strict=True):
    run = " ".join(node.op_type for node in onnx.load(f"{file}.onnx").graph.node)
    print(f"{name}: runs as {run}, {seconds / VALUES * 1e9:.2f} ns a value")
difference = float(np.abs(outputs["Swish"] - outputs["Sigmoid and Mul"]).max())
print(f"largest difference of the outputs: {difference:g}")
if difference > 1e-6:
    sys.exit("CHANGED: the two do not compute the same any more")
if median["Swish"] < 1.5 * median["Sigmoid and Mul"]:
    sys.exit("CHANGED: Swish is no longer much slower than Sigmoid and Mul")
print("as described")
PYTHON
