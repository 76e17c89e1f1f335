"""A LiteRT program: its operators, their tensors, which of them XNNPACK runs, and its bytes as a bundle holds them.

Works on the flatbuffer (TensorFlow Lite's schema, version 3) through the classes that `ai_edge_litert` holds of it.
Knows nothing about students or recipes.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from edgecap.util.stderr import silent_library

FILE_IDENTIFIER = b"TFL3"
ALIGNMENT = 16
"""Of constants, in bytes."""
REDUCED_PRECISION = "reduced_precision_support"
"""Key of the metadata that lets a delegate calculate in less than float32."""
HALF = b"fp16accfp16"
"""Float16 products and sums: what XNNPACK requires before it uses a processor's float16 arithmetic."""
CONDITION, STEP = "condition", "step"
"""What the two graphs of a loop are called."""
WEIGHTS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "EMBEDDING_LOOKUP": 1}
"""Operators with weights → which of their inputs those are."""


@dataclass(frozen=True)
class Operator:
    """One operator of one graph."""

    graph: str
    """Name of its signature, "encode" or "decode"; in a loop of that, "decode step" or "decode condition"."""
    index: int
    """Its place in the graph; operators are in the order in which they run."""
    kind: str
    """"CONV_2D"."""
    inputs: tuple[int, ...]
    """Tensors; -1 for one that is left out."""
    outputs: tuple[int, ...]
    scope: str
    """The name of its first output, by which the quantiser knows it."""
    shape: tuple[int, ...]
    """Shape of its first output."""
    int8: bool
    """Whether its products or its output are bytes."""


class Program:
    """A program's graphs, read only."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._model = model_of(content)
        types = _names("TensorType")
        kinds = _names("BuiltinOperator")
        self.operators: dict[str, tuple[Operator, ...]] = {}
        self.names: dict[str, tuple[str, ...]] = {}
        """Graph → the names of its tensors."""
        self.graphs = {
            bytes(entry.signatureKey).decode(): int(entry.subgraphIndex) for entry in self._model.signatureDefs
        }
        """Graph → its place among the subgraphs; those of a loop are called after the graph that holds it."""
        for name, place in tuple(self.graphs.items()):
            for loop in loops(self._model.subgraphs[place]):
                self.graphs |= {f"{name} {CONDITION}": loop.condSubgraphIndex, f"{name} {STEP}": loop.bodySubgraphIndex}
        for name, place in self.graphs.items():
            graph = self._model.subgraphs[place]
            self.names[name] = tuple(bytes(tensor.name).decode() for tensor in graph.tensors)
            listed = []
            for index, node in enumerate(graph.operators):
                code = self._model.operatorCodes[node.opcodeIndex]
                kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
                inputs, outputs = tuple(map(int, node.inputs)), tuple(map(int, node.outputs))
                out = graph.tensors[outputs[0]]
                shown = [out, *(graph.tensors[inputs[WEIGHTS[kind]]] for _ in range(kind in WEIGHTS))]
                listed.append(
                    Operator(
                        name,
                        index,
                        kind,
                        inputs,
                        outputs,
                        bytes(out.name).decode(),
                        () if out.shape is None else tuple(map(int, out.shape)),
                        any(types[tensor.type] == "INT8" for tensor in shown),
                    )
                )
            self.operators[name] = tuple(listed)

    def counts(self) -> dict[str, int]:
        """ "graph: operator (precision)" → how many."""
        counts = Counter(
            f"{operator.graph}: {operator.kind} ({'int8' if operator.int8 else 'float'})"
            for operators in self.operators.values()
            for operator in operators
        )
        return dict(sorted(counts.items()))

    @cached_property
    def left(self) -> tuple[Operator, ...]:
        """Operators of all graphs that XNNPACK does not run."""
        delegated = {name: self._delegated(name) for name in self.operators}  # each loads the program: once a graph
        return tuple(
            operator
            for name, operators in self.operators.items()
            for operator in operators
            if operator.index not in delegated[name]
        )

    def _delegated(self, name: str) -> set[int]:
        """The indices of the operators of a graph that XNNPACK runs.

        The interpreter lists the operators of its first graph only, and of a delegate only its inputs and outputs.
        So the graph is loaded as the first, alone but for its loop, and the operators between those are the delegate's.
        """
        alone = model_of(self.content)
        chosen = [alone.subgraphs[self.graphs[name]]]
        for loop in loops(chosen[0]):
            chosen += [alone.subgraphs[loop.condSubgraphIndex], alone.subgraphs[loop.bodySubgraphIndex]]
            loop.condSubgraphIndex, loop.bodySubgraphIndex = len(chosen) - 2, len(chosen) - 1
        alone.subgraphs, alone.signatureDefs = chosen, []
        interpreter = _interpreter(packed(alone))
        nodes = interpreter._get_ops_details()  # there is no public way
        operators = self.operators[name]
        makers = {tensor: operator for operator in operators for tensor in operator.outputs}
        taken: set[int] = set()
        for delegate in nodes[len(operators) :]:
            entering, waiting = set(map(int, delegate["inputs"])), list(map(int, delegate["outputs"]))
            while waiting:
                tensor = waiting.pop()
                maker = makers.get(tensor)
                if tensor not in entering and maker is not None and maker.index not in taken:
                    taken.add(maker.index)
                    waiting.extend(maker.inputs)
        return taken


def loops(graph: Any) -> list[Any]:  # noqa: ANN401
    """The options of the loops of a graph, which say where their graphs are."""
    return [node.builtinOptions for node in graph.operators if hasattr(node.builtinOptions, "condSubgraphIndex")]


def finished(content: bytes, *, half_arithmetic: bool) -> bytes:
    """The bytes of a program as a bundle holds them.

    Constants lie in the flatbuffer itself, where interpreters before 2.15 look for them, once each; with
    `half_arithmetic` the program allows float16.
    """
    model = model_of(content)
    if half_arithmetic:
        _add_metadata(model, REDUCED_PRECISION, HALF)
    return packed(model)


def tensors(content: bytes, feed: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """All float tensors of the graph "encode" by name, for one run of a float program."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that this takes memory
        interpreter = _interpreter(content, experimental_preserve_all_tensors=True)
    place = Program(content).graphs["encode"]
    runner = interpreter.get_signature_runner("encode")
    runner(**feed)
    values = {}
    for details in interpreter.get_tensor_details(place):
        if details["dtype"] == np.float32:
            values[details["name"]] = interpreter.get_tensor(details["index"], place)
    return values


def _interpreter(content: bytes, **more: Any) -> Any:  # noqa: ANN401 - the package has no types
    from ai_edge_litert.interpreter import Interpreter

    with silent_library():
        interpreter = Interpreter(model_content=content, num_threads=1, **more)
        interpreter.allocate_tensors()
    return interpreter


def _names(enumeration: str) -> dict[int, str]:
    """Number → name of an enumeration of the schema."""
    from ai_edge_litert import schema_py_generated as schema

    return {value: name for name, value in vars(getattr(schema, enumeration)).items() if isinstance(value, int)}


def model_of(content: bytes) -> Any:  # noqa: ANN401
    """The flatbuffer as objects, its constants inside them."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:  # it lies behind the flatbuffer; 0 and 1 mean that it does not
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def packed(model: Any) -> bytes:  # noqa: ANN401
    """What `model_of` gave, perhaps changed, as a flatbuffer."""
    import flatbuffers

    for buffer in model.buffers:
        buffer.Pack = partial(_pack_buffer, buffer)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def _pack_buffer(buffer: Any, builder: Any) -> int:  # noqa: ANN401
    """One constant, at a multiple of `ALIGNMENT` bytes; which the schema requires and its Python classes omit."""
    from ai_edge_litert import schema_py_generated as schema

    place = None
    if buffer.data is not None and len(buffer.data):
        data = np.asarray(buffer.data, np.uint8).tobytes()
        builder.StartVector(1, len(data), ALIGNMENT)
        builder.head -= len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        place = builder.EndVector()
    schema.BufferStart(builder)
    if place is not None:
        schema.BufferAddData(builder, place)
    return int(schema.BufferEnd(builder))


def _add_metadata(model: Any, key: str, value: bytes) -> None:  # noqa: ANN401
    from ai_edge_litert import schema_py_generated as schema

    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(value, np.uint8)
    entry.name, entry.buffer = key, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
