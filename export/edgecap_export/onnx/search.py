"""The decoder with its beam search as one ONNX graph: the memory of clips in, their captions out, one call.

Two graphs make it. `search_step` is one step in float: the decoder for every beam, and the choice of the beams that go
on; being flat it is quantised like any other graph. `search_graph` puts it into a `Loop` and picks the captions. The
choice is that of `edgecap.inference.decoding`, whose rules are not repeated here.

Nothing is copied when beams change places: keys and values stay where they were written, one slot for each beam and
position, and a row reads the slots of its own past, which a sum added to the attention's scores (0, or minus infinity)
says. All beams of a clip so attend in one `MultiHeadAttention`. At the first position all beams are alike, and there is
one row a clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgecap.inference.decoding import FINISHED_SUM
from edgecap_export.graphs.onnx_export import OPSET
from edgecap_export.quantisation.onnx_graph import MICROSOFT, EditableGraph
from edgecap_train.models.decoder import DecoderLayer
from edgecap_train.models.search import SPECIALS
from edgecap_train.models.student import Student, StudentConfig

FLOAT, INT32, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL
IR_VERSION = 9
Values = Sequence[onnx.ValueInfoProto]
Kind = tuple[int, int]
"""Element type, and how many axes."""
STATES: dict[str, Kind] = {
    "token": (INT64, 2),
    "offset": (INT64, 2),
    "past": (FLOAT, 4),
    "sums": (FLOAT, 3),
    "sequences": (INT64, 3),
    "ended": (INT64, 2),
}
"""What a step hands to the next one: the token of each row (clips, rows), each clip's first row (clips, 1), the sum
added to the attention's scores (clips, 1, rows, slots), the beams' sums (clips, rows, 1), their tokens (clips, rows,
max_tokens), how many have ended (clips, 1); then each layer's keys and values (clips, heads, slots, head_dim)."""
RESULTS: dict[str, Kind] = {"chosen": (INT64, 2), "totals": (FLOAT, 2), "captions": (INT64, 3)}
"""What a step adds to the results: token and sum of each beam (clips, beams), and its tokens so far."""
OUTSIDE: dict[str, Kind] = {
    "end": (INT64, 1),
    "beams": (INT64, 1),
    "rows": (INT64, 2),
    "own": (FLOAT, 4),
    "length": (INT32, 1),
}
"""What is the same in every step: `rows` is the first row of each clip once there are all beams, `own` the sum for the
slots of a step's own position."""


class _Writer:
    """Appends nodes to a graph, whose tensors get numbers for names."""

    def __init__(
        self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> None:
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        graph = helper.make_graph([], name, list(inputs), list(outputs))
        self.graph = EditableGraph(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION))
        self._name, self._count = name, 0

    def __call__(self, kind: str, *inputs: Any, output: str = "", **more: Any) -> str:  # noqa: ANN401
        """Append a node of one output, named `output`; an input that is no name is a constant."""
        return self.many(kind, *inputs, outputs=(output,), **more)[0]

    def many(self, kind: str, *inputs: Any, outputs: Sequence[str], domain: str = "", **more: Any) -> list[str]:  # noqa: ANN401
        """Append a node with outputs of these names; a number in place of an empty one."""
        self._count += 1
        names = [name or f"{self._name}_{self._count}_{index}" for index, name in enumerate(outputs)]
        constant = f"{self._name}_constant"
        given = [item if isinstance(item, str) else self.graph.constant(item, constant) for item in inputs]
        self.graph.nodes.append(
            helper.make_node(kind, given, names, f"{self._name}_{self._count}_{kind}", domain=domain, **more)
        )
        return names


def search_step(student: Student) -> onnx.ModelProto:
    """One step for the rows of all clips, in float32: inputs are "position", `STATES`, `OUTSIDE` and the memory of each
    layer; outputs "goes_on", the states after it (`_after`) and `RESULTS`.
    """
    config, decoder = student.config, student.decoder
    cross = dict.fromkeys((name for layer in range(config.layers) for name in _cross(layer)), (FLOAT, 4))
    inputs = {"position": (INT64, 0), **_states(config), **OUTSIDE, **cross}
    write = _Writer("step", _values(inputs), _values(_outcome(config)))
    table = _array(decoder.embedding.weight)
    words = write.graph.constant(table, "words")
    scaled = write("Mul", write("Gather", words, "token"), np.float32(decoder.scale))
    x = write("Add", scaled, write("Gather", _array(decoder.positions[: config.max_tokens]), "position"))
    for index, layer in enumerate(decoder.layers):
        assert isinstance(layer, DecoderLayer)
        x = _layer(write, layer, index, x)
    log_probs = write("LogSoftmax", write("MatMul", x, write("Transpose", words, perm=(1, 0))), axis=-1)
    candidates = write("Reshape", write("Add", log_probs, "sums"), _integers(0, -1))
    _, best = write.many("TopK", candidates, "beams", outputs=("totals", ""))
    size = np.int64(len(table))
    write("Mod", best, size, output="chosen")
    row = write("Add", write("Div", best, size), "offset")
    _choose(write, row, config)
    return write.graph.model()


def _layer(write: _Writer, layer: DecoderLayer, index: int, x: str) -> str:
    """As `DecoderLayer.step`."""

    def linear(x: str, weights: nn.Linear) -> str:
        return write("Add", write("MatMul", x, np.ascontiguousarray(_array(weights.weight).T)), _array(weights.bias))

    def added(x: str, more: str, norm: nn.LayerNorm) -> str:
        given = write("Add", x, more), _array(norm.weight), _array(norm.bias)
        return write("LayerNormalization", *given, axis=-1, epsilon=norm.eps)

    attention: dict[str, Any] = {"domain": MICROSOFT, "num_heads": layer.heads}
    parts = write.many("Split", linear(x, layer.self_query_key_value), outputs=("", "", ""), axis=-1, num_outputs=3)
    caches = _caches(index)
    attended, *_ = write.many(
        "MultiHeadAttention", *parts, "", "", "past", *caches, outputs=("", *map(_after, caches)), **attention
    )
    x = added(x, linear(attended, layer.self_output), layer.self_norm)
    crossed = write("MultiHeadAttention", linear(x, layer.cross_query), *_cross(index), "", "length", **attention)
    x = added(x, linear(crossed, layer.cross_output), layer.cross_norm)
    return added(x, linear(write("Relu", linear(x, layer.widen)), layer.narrow), layer.feed_forward_norm)


def _choose(write: _Writer, row: str, config: StudentConfig) -> None:
    """The states after a step whose best beams continue `row` (clips, beams) with the tokens "chosen"."""
    write("Identity", "chosen", output=_after("token"))
    write("Identity", "rows", output=_after("offset"))
    seen = write("Gather", write("Flatten", "past", axis=3), write("Unsqueeze", row, _integers(1)))
    write("Concat", seen, "own", output=_after("past"), axis=3)
    here = write("Equal", np.arange(config.max_tokens), "position")
    before = write("Gather", write("Flatten", "sequences", axis=2), row)
    write("Where", here, write("Unsqueeze", "chosen", _integers(2)), before, output="captions")
    write("Identity", "captions", output=_after("sequences"))
    ends = write("Equal", "chosen", "end")
    write("Add", "ended", write("ReduceSum", write("Cast", ends, to=INT64), _integers(1)), output=_after("ended"))
    # where the search of a clip is over, all its beams leave the competition, and nothing of them counts any more
    over = write("Or", ends, write("Equal", _after("ended"), "beams"))
    sums = write("Where", over, FINISHED_SUM, "totals")
    write("Unsqueeze", sums, _integers(2), output=_after("sums"))
    write("Greater", write("ReduceMax", sums, keepdims=0), FINISHED_SUM, output="goes_on")


def search_graph(step: onnx.ModelProto, config: StudentConfig, memory_frames: int) -> onnx.ModelProto:
    """The steps in a loop and what is before and after it; inputs and outputs as BUNDLE.md says of a search in-graph.

    `step` may be quantised. The constants "end" and "most", each (1,), are the token that ends a caption and the most
    tokens; benchmarks change them.
    """
    heads, width = config.heads, config.d_model // config.heads
    memory: list[str | int | None] = ["clips", config.layers, heads, memory_frames, width]
    inputs = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("memory_length", INT64, ["clips"]),
            ("beams", INT64, [1]),
            ("cross_keys", FLOAT, memory),
            ("cross_values", FLOAT, memory),
        )
    ]
    outputs = [
        helper.make_tensor_value_info("tokens", INT64, ["clips", "beams", config.max_tokens]),
        helper.make_tensor_value_info("scores", FLOAT, ["clips", "beams"]),
    ]
    write = _Writer("search", inputs, outputs)
    graph = write.graph
    graph.constants |= {"end": _integers(SPECIALS.end), "most": _integers(config.max_tokens)}
    constants = {item.name: numpy_helper.to_array(item) for item in step.graph.initializer}
    graph.constants |= constants
    body = _body(step, config, graph, set(constants))

    clips = write("Shape", "cross_keys", end=1)
    each_clip = _column(write, _counting(write, clips))
    write("Mul", each_clip, "beams", output="rows")
    numbers = _counting(write, "beams")
    own = write("Where", write("Equal", _column(write, numbers), numbers), np.float32(0), np.float32(-np.inf))
    write("Expand", own, write("Concat", clips, _integers(1), "beams", "beams", axis=0), output="own")
    write("Cast", "memory_length", to=INT32, output="length")
    for layer in range(config.layers):
        for name, source in zip(_cross(layer), ("cross_keys", "cross_values"), strict=True):
            write("Gather", source, np.int64(layer), output=name, axis=1)
    empty = write("Expand", np.zeros(1, np.float32), write("Concat", clips, _integers(heads, 0, width), axis=0))
    first = [
        _filled(write, clips, np.int64(SPECIALS.start), 1),
        each_clip,
        _filled(write, clips, np.float32(0), 1, 1, 1),
        _filled(write, clips, np.float32(0), 1, 1),
        _filled(write, clips, np.int64(SPECIALS.pad), 1, config.max_tokens),
        _filled(write, clips, np.int64(0), 1),
        *[empty] * (2 * config.layers),
    ]
    results = [*[""] * len(first), *RESULTS]
    *_, chosen, totals, captions = write.many("Loop", "most", np.array(True), *first, outputs=results, body=body)

    steps = write("Shape", chosen, end=1)
    lengths = write("Unsqueeze", write("Add", _counting(write, steps), np.int64(1)), _integers(1, 2))
    ended = write("Or", write("Equal", chosen, "end"), write("Equal", lengths, "most"))
    ended = write("And", ended, write("Greater", totals, FINISHED_SUM))
    means = write("Div", totals, write("Cast", lengths, to=FLOAT))
    scores = write("Transpose", write("Where", ended, means, np.float32(-np.inf)), perm=(1, 0, 2))
    _, places = write.many("TopK", write("Reshape", scores, _integers(0, -1)), "beams", outputs=("scores", ""))
    captions = write("Reshape", write("Transpose", captions, perm=(1, 0, 2, 3)), _integers(0, -1, config.max_tokens))
    write("GatherND", captions, write("Unsqueeze", places, _integers(2)), output="tokens", batch_dims=1)
    model = graph.model()
    onnx.checker.check_model(model)
    return model


def _body(step: onnx.ModelProto, config: StudentConfig, graph: EditableGraph, known: set[str]) -> onnx.GraphProto:
    """The body of the loop. Nodes that need constants alone, which are `known`, go into `graph`, to be run once."""
    inner: list[NodeProto] = []
    for node in step.graph.node:
        if all(name in known for name in node.input):
            graph.nodes.append(node)
            known.update(node.output)
        else:
            inner.append(node)
    inputs = {"position": (INT64, 0), "went_on": (BOOL, 0), **_states(config)}
    return helper.make_graph(inner, "step", _values(inputs), _values(_outcome(config)))


def _counting(write: _Writer, size: str) -> str:
    """0, 1, 2 … up to `size` (1,)."""
    return write("Range", np.int64(0), write("Squeeze", size), np.int64(1))


def _column(write: _Writer, numbers: str) -> str:
    return write("Unsqueeze", numbers, _integers(1))


def _filled(write: _Writer, clips: str, value: np.generic, *shape: int) -> str:
    """A tensor (clips, *shape) of one value."""
    return write("Expand", value, write("Concat", clips, _integers(*shape), axis=0))


def _states(config: StudentConfig) -> dict[str, Kind]:
    return STATES | dict.fromkeys((name for layer in range(config.layers) for name in _caches(layer)), (FLOAT, 4))


def _outcome(config: StudentConfig) -> dict[str, Kind]:
    """What comes out of a step."""
    return {"goes_on": (BOOL, 0), **{_after(name): kind for name, kind in _states(config).items()}, **RESULTS}


def _after(name: str) -> str:
    return f"{name}_after"


def _caches(layer: int) -> tuple[str, str]:
    return f"self_keys_{layer}", f"self_values_{layer}"


def _cross(layer: int) -> tuple[str, str]:
    return f"cross_keys_{layer}", f"cross_values_{layer}"


def _values(kinds: Mapping[str, Kind]) -> Values:
    return [helper.make_tensor_value_info(name, kind, [None] * axes) for name, (kind, axes) in kinds.items()]


def _integers(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().numpy(), np.float32)
