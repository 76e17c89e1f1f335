"""Two graphs of a LiteRT program, what is before a loop and a step of it, made one signature with a `WHILE`.

Knows the flatbuffer, not what the graphs calculate.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgecap_export.litert.program import CONDITION, STEP, model_of, packed


def looped(  # noqa: PLR0917
    content: bytes, start: str, step: str, states: Sequence[str], fixed: Sequence[str], results: Sequence[str]
) -> bytes:
    """The program with the signatures `start` and `step` made one, called `step`: the inputs of `start`, the
    `results` that the last step gave, each with an axis of one clip before the others.

    `start` gives `states` and `fixed`, `step` takes both and gives `states`, by the names of their signatures. The
    first state is an integer (1,), above 0 as long as there is another step; the first step is taken always.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = model_of(content)
    entries = {bytes(entry.signatureKey).decode(): entry for entry in model.signatureDefs}
    decoder, body = (model.subgraphs[entries[name].subgraphIndex] for name in (start, step))
    names = (*states, *fixed)
    given, taken, made = (
        {bytes(each.name).decode(): each.tensorIndex for each in tensors}
        for tensors in (entries[start].outputs, entries[step].inputs, entries[step].outputs)
    )
    body.inputs = [taken[name] for name in names]
    body.outputs = [(made if name in states else taken)[name] for name in names]
    condition = _condition(model, [body.tensors[place] for place in body.inputs])
    condition.name, body.name, decoder.name = f"{step} {CONDITION}".encode(), f"{step} {STEP}".encode(), step.encode()
    model.subgraphs.append(condition)

    outputs = {name: _added(decoder, body.tensors[taken[name]], name) for name in names}
    options = schema.WhileOptionsT()
    options.condSubgraphIndex = len(model.subgraphs) - 1
    options.bodySubgraphIndex = entries[step].subgraphIndex
    node = _operator(model, "WHILE", [given[name] for name in names], list(outputs.values()))
    node.builtinOptions, node.builtinOptionsType = options, schema.BuiltinOptions.WhileOptions
    decoder.operators.append(node)
    decoder.outputs = [_of_one_clip(model, decoder, outputs[name], f"{name}_of_clips") for name in results]

    entry = entries[start]
    entry.signatureKey = step.encode()
    entry.outputs = [_named(name, place) for name, place in zip(results, decoder.outputs, strict=True)]
    model.signatureDefs = [each for each in model.signatureDefs if each is not entries[step]]
    return packed(model)


def _of_one_clip(model: Any, graph: Any, place: int, name: str) -> int:  # noqa: ANN401
    """The place of a tensor with an axis before those of another one.

    A loop gives its outputs where its last step wrote them. Whoever hands LiteRT buffers for a program's outputs, as
    its compiled models do, would find nothing there: this copies them.
    """
    from ai_edge_litert import schema_py_generated as schema

    made = _added(graph, graph.tensors[place], name)
    shape = [1, *map(int, graph.tensors[place].shape)]
    graph.tensors[made].shape = shape
    graph.tensors[made].shapeSignature = None
    node = _operator(model, "RESHAPE", [place], [made])
    node.builtinOptions, node.builtinOptionsType = schema.ReshapeOptionsT(), schema.BuiltinOptions.ReshapeOptions
    node.builtinOptions.newShape = shape
    graph.operators.append(node)
    return made


def forced(content: bytes, values: Mapping[str, int]) -> bytes:
    """A program with a loop whose fixed integers of these names, each (1,), are others."""
    from ai_edge_litert import schema_py_generated as schema

    model = model_of(content)
    for graph in model.subgraphs:
        for node in graph.operators:
            if node.builtinOptionsType == schema.BuiltinOptions.WhileOptions:
                node.inputs = list(node.inputs)
                for index, place in enumerate(node.outputs):
                    name = bytes(graph.tensors[place].name).decode()
                    if name in values:
                        node.inputs[index] = _constant(
                            model, graph, graph.tensors[place], values[name], f"forced_{name}"
                        )
    return packed(model)


def _constant(model: Any, graph: Any, like: Any, value: int, name: str) -> int:  # noqa: ANN401
    """The place of a new tensor of the shape (1,) of `like` that holds an integer."""
    from ai_edge_litert import schema_py_generated as schema

    buffer, place = schema.BufferT(), _added(graph, like, name)
    buffer.data = np.frombuffer(np.array([value], np.int32).tobytes(), np.uint8)
    graph.tensors[place].buffer = len(model.buffers)
    model.buffers.append(buffer)
    return place


def _condition(model: Any, inputs: Sequence[Any]) -> Any:  # noqa: ANN401 - the schema's classes have no types
    """The graph that says whether the first of its inputs is above 0."""
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [], []
    graph.inputs = [_added(graph, tensor, f"{CONDITION}_{index}") for index, tensor in enumerate(inputs)]
    limit = _constant(model, graph, inputs[0], 0, f"{CONDITION}_limit")
    answer = _added(graph, inputs[0], f"{CONDITION}_answer")
    graph.tensors[answer].type = schema.TensorType.BOOL
    node = _operator(model, "GREATER", [graph.inputs[0], limit], [answer])
    node.builtinOptions, node.builtinOptionsType = schema.GreaterOptionsT(), schema.BuiltinOptions.GreaterOptions
    graph.operators.append(node)
    graph.outputs = [answer]
    return graph


def _added(graph: Any, like: Any, name: str) -> int:  # noqa: ANN401
    """The place of a new tensor of the shape and type of another one; its values come when the program runs."""
    tensor = copy.copy(like)
    tensor.name, tensor.buffer = name.encode(), 0
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _operator(model: Any, kind: str, inputs: Sequence[int], outputs: Sequence[int]) -> Any:  # noqa: ANN401
    """A new operator; a program lists each kind of operator once."""
    from ai_edge_litert import schema_py_generated as schema

    number = getattr(schema.BuiltinOperator, kind)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    if number not in codes:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = 1
        model.operatorCodes.append(code)
        codes.append(number)
    node = schema.OperatorT()
    node.opcodeIndex, node.inputs, node.outputs = codes.index(number), list(inputs), list(outputs)
    return node


def _named(name: str, place: int) -> Any:  # noqa: ANN401
    from ai_edge_litert import schema_py_generated as schema

    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), place
    return entry
