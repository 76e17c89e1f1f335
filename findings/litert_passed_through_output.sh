#!/usr/bin/env bash
# LiteRT's CompiledModel: an output that is also an input is not written, and its buffer is read in the input's place.
#
# Expected: a program whose inputs are `x` and `cache` and whose outputs are `y = x + cache` and `cache` itself (a
# decoder that passes on what a step does not change) gives the sum, and the cache as it was given.
# Instead: CompiledModel binds both buffers to the one tensor, and the output's wins. `y` is computed from whatever
# the OUTPUT buffer of the cache holds (zeros in a new one), the cache that the caller wrote is ignored, and the
# output buffer is left as it was. No error, no warning. The older Interpreter gives the right sum for the same file,
# so a model that was checked with one API is wrong with the other.
# Seen: ai-edge-litert 2.3.0, CPU, Linux x86-64. The program is made here with the package's own schema: one ADD.
# edgecap runs LiteRT programs with the Interpreter. For CompiledModel give a passed-through tensor an operator of its
# own, such as a RESHAPE to the same shape, or leave it out of the outputs.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 flatbuffers==25.12.19 ai-edge-litert==2.3.0
venv/bin/python - 2>messages.txt <<'PYTHON' || { tail -n 5 messages.txt >&2; exit 1; }
import importlib.metadata
import sys

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.interpreter import Interpreter

print(f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}")


def tensor(name: str) -> schema.TensorT:
    result = schema.TensorT()
    result.name, result.shape, result.buffer = name, [4], 0  # float32 is type 0
    return result


def named(name: str, index: int) -> schema.TensorMapT:
    result = schema.TensorMapT()
    result.name, result.tensorIndex = name, index
    return result


code = schema.OperatorCodeT()
code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
add = schema.OperatorT()
add.inputs, add.outputs = [0, 1], [2]
add.builtinOptionsType, add.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
graph = schema.SubGraphT()
graph.tensors, graph.operators = [tensor("x"), tensor("cache"), tensor("y")], [add]
graph.inputs, graph.outputs = [0, 1], [2, 1]
signature = schema.SignatureDefT()
signature.signatureKey = "step"
signature.inputs = [named("x", 0), named("cache", 1)]
signature.outputs = [named("y", 2), named("cache_out", 1)]
model = schema.ModelT()
model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
model.buffers, model.signatureDefs = [schema.BufferT()], [signature]
builder = flatbuffers.Builder()
builder.Finish(model.Pack(builder), b"TFL3")
with open("step.tflite", "wb") as file:
    file.write(builder.Output())

x, cache = np.array([1, 2, 3, 4], np.float32), np.array([10, 20, 30, 40], np.float32)
expected = x + cache
old = Interpreter("step.tflite").get_signature_runner("step")(x=x, cache=cache)
print(f"Interpreter:                        y {old['y']}, cache_out {old['cache_out']}")

compiled = CompiledModel.from_file("step.tflite")
names = compiled.get_signature_by_index(0)
results = {}
for before in (0.0, 500.0):
    inputs, outputs = compiled.create_input_buffers(0), compiled.create_output_buffers(0)
    for name, buffer in zip(names["inputs"], inputs, strict=True):
        buffer.write({"x": x, "cache": cache}[name])
    for buffer in outputs:
        buffer.write(np.full(4, before, np.float32))
    compiled.run_by_index(0, inputs, outputs)
    values = {name: buffer.read(4, np.float32) for name, buffer in zip(names["outputs"], outputs, strict=True)}
    results[before] = values
    print(f"CompiledModel, output holds {before:5.1f}:   y {values['y']}, cache_out {values['cache_out']}")

if not np.array_equal(old["y"], expected) or not np.array_equal(old["cache_out"], cache):
    sys.exit("CHANGED: the Interpreter gives something else")
for before, values in results.items():
    if not np.array_equal(values["y"], x + before) or not np.all(values["cache_out"] == before):
        sys.exit("CHANGED: CompiledModel no longer computes with the output's old contents")
print("as described: y comes from the output buffer's old contents, which stay there")
PYTHON
