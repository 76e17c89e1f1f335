"""The encoder of a stream: the graph `encode` rewritten so that a call takes only what came since the call before.

Each convolution over time keeps the last columns of its input that are final (`state_N`), so a call computes the new
columns and, at the right edge, those that the next call will compute again because they saw padding. Weights, scales
and everything else are those of `encode`, so a call that starts anew gives what `encode` gives. docs/streaming.md tells
why, and `edgecap.inference.streaming` is the other side.

A network that looks at the whole clip at once, as squeeze-and-excitation does, has no such graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from edgecap.bundle.bundle import Bundle, BundleContent, load_bundle, write_bundle
from edgecap.bundle.fields import StreamingSpec
from edgecap.bundle.manifest import FORMAT_VERSION, Manifest
from edgecap.runtimes import RUNTIMES
from edgecap_export.quantisation.onnx_graph import EditableGraph, attributes

COLUMN_BY_COLUMN = {"Relu", "QuantizeLinear", "DequantizeLinear", "MatMulIntegerToFloat"}
"""Operators that make each column of the output from the same column of their first input."""
CONVOLUTIONS = {"Conv", "QLinearConv"}
ROWS = "rows"
Shape = list[int | None]
"""None is time."""


class NotStreamableError(Exception):
    """Why an encoder has no streaming graph, as a phrase that follows the encoder's name."""


def with_streaming(manifest: Manifest, contents: Sequence[BundleContent]) -> tuple[Manifest, list[BundleContent]]:
    """A bundle's manifest and files with the graph `stream`, made from its `encode`; without where that has none."""
    others = [content for content in contents if content.role != "stream"]
    plain = replace(manifest, encoder=replace(manifest.encoder, streaming=None))
    name = RUNTIMES[manifest.runtime].stream
    if not name:
        return plain, others
    (encode,) = (content.data for content in others if content.role == "encode")
    try:
        if manifest.front_end.compression != "log":
            raise NotStreamableError("has a floor that depends on the whole clip")
        graph, spec = streaming_encoder(
            encode if isinstance(encode, bytes) else encode.read_bytes(), manifest.encoder.frames_per_memory
        )
    except NotStreamableError:
        return plain, others
    streaming = replace(manifest, encoder=replace(manifest.encoder, streaming=spec))
    place = [content.role for content in others].index("decode") + 1
    return streaming, [*others[:place], BundleContent(name, "stream", graph), *others[place:]]


def stream_again(folder: Path) -> Bundle:
    """Make the graph `stream` of the bundle in `folder` anew from its `encode`. Raises BundleError, OutputError."""
    manifest = load_bundle(folder).manifest
    contents = [BundleContent(entry.name, entry.role, (folder / entry.name).read_bytes()) for entry in manifest.files]
    return write_bundle(folder, *with_streaming(replace(manifest, format_version=FORMAT_VERSION), contents))


@dataclass(frozen=True)
class _Kept:
    """What one convolution keeps from call to call."""

    name: str
    shape: list[int]
    element: int
    stride: int
    """Log-mel frames of one column of its input."""
    columns: int
    cut: int
    """Columns of the state that are left out in the first call, which has only the padding before the beginning."""
    offset: int
    """Columns by which the state after the first call begins before the columns that came."""


def streaming_encoder(encode: bytes, frames_per_memory: int) -> tuple[bytes, StreamingSpec]:
    """The streaming graph of an ONNX `encode`, fp32 or int8, and what the manifest says about it.

    Raises NotStreamableError.
    """
    return _Rewriter(onnx.load_from_string(encode), frames_per_memory).run()


class _Rewriter:
    """Follows the one way from the log-mel to the memory, convolution by convolution."""

    def __init__(self, model: onnx.ModelProto, frames_per_memory: int) -> None:
        self.graph, self.frames_per_memory = EditableGraph(model), frames_per_memory
        sizes = self.graph.shapes().get("log_mel")
        if sizes is None or "log_mel" not in {item.name for item in model.graph.input}:
            raise NotStreamableError("takes samples and not log-mel frames")
        self.shape: Shape = [1, sizes[1], None]
        self.kept: list[_Kept] = []
        self.stride, self.lag, self.lead, self.reach = 1, 0, 0, 0
        """Of the columns so far: log-mel frames each, columns that are not final, frames before and after its own."""

    def run(self) -> tuple[bytes, StreamingSpec]:
        """Rewrite. Raises NotStreamableError."""
        memory, takers = self._follow("log_mel")
        rows = len(self.shape) == 3 and self.shape[1] is None and self.stride == self.frames_per_memory
        if not rows or self.shape[2] is None:
            raise NotStreamableError(f"goes on with {takers[0].op_type} before its columns are memory frames")
        self._join(memory, takers)
        least = max(-(-kept.offset * kept.stride // self.frames_per_memory) for kept in self.kept)
        if least > self.lag:
            raise NotStreamableError("keeps more of its input than of its output")
        spec = StreamingSpec(lag=self.lag, lead=self.lead, reach=self.reach)
        return self._model(self.shape[2]).SerializeToString(), spec

    def _follow(self, name: str) -> tuple[str, list[NodeProto]]:
        """From a tensor as far as each column depends on few columns: the last such tensor, and what takes it."""
        takers = self.graph.consumers()
        while len(takers[name]) == 1:
            node = takers[name][0]
            if node.input[0] != name or not self._step(node):
                break
            name = node.output[0]
        return name, takers[name]

    def _step(self, node: NodeProto) -> bool:
        """Follow one node; False where it does something else than column after column."""
        time, constants = self.shape.index(None), self.graph.constants
        if node.op_type in CONVOLUTIONS:
            self._convolution(node, time)
        elif node.op_type == "Transpose":
            self.shape = [self.shape[axis] for axis in attributes(node)["perm"]]
        elif node.op_type == "Unsqueeze" and node.input[1] in constants:
            for axis in sorted(int(axis) for axis in np.ravel(constants[node.input[1]])):
                self.shape.insert(axis, 1)
        elif node.op_type == "ReduceMean" and len(node.input) == 2 and not attributes(node).get("keepdims", 1):
            axes = {int(axis) % len(self.shape) for axis in np.ravel(constants[node.input[1]])}
            if time in axes:
                return False
            self.shape = [size for axis, size in enumerate(self.shape) if axis not in axes]
        elif node.op_type in COLUMN_BY_COLUMN:
            if node.op_type == "MatMulIntegerToFloat":
                self.shape[-1] = int(constants[node.input[1]].shape[1])
        else:
            return False
        return True

    def _convolution(self, node: NodeProto, time: int) -> None:
        more = attributes(node)
        bytes_in, last = node.op_type == "QLinearConv", bool(more.get("channels_last"))
        weight = self._stored(node.input[3 if bytes_in else 1])
        first, channel = (1, 3) if last else (2, 1)
        pads, strides, kernel = list(more["pads"]), more["strides"], more["kernel_shape"]
        place, other = time - first, 1 - (time - first)
        if len(self.shape) != 4 or set(more.get("dilations", [1])) != {1} or place not in (0, 1):
            raise NotStreamableError(f"has a convolution, {node.name}, over other axes than frequency and time")
        if kernel[place] > 1:
            if bytes_in and pads[place] and self.graph.constants[node.input[2]].any():
                raise NotStreamableError(f"pads the input of {node.name} with other bytes than 0")
            self._keep(node, time, kernel[place], strides[place], pads[place])
            pads[place] = 0
            del node.attribute[[item.name for item in node.attribute].index("pads")]
            node.attribute.append(helper.make_attribute("pads", pads))
        elif strides[place] != 1:
            raise NotStreamableError(f"leaves columns out in {node.name}")
        self.shape[channel] = int(weight.shape[0])
        size = self.shape[first + other]
        assert size is not None
        self.shape[first + other] = (size + pads[other] + pads[other + 2] - kernel[other]) // strides[other] + 1

    def _stored(self, name: str) -> NDArray[Any]:
        """A constant, which may be stored in another type (halved weights). Raises NotStreamableError."""
        constants = self.graph.constants
        casts = {node.output[0]: node.input[0] for node in self.graph.nodes if node.op_type == "Cast"}
        if (stored := casts.get(name, name)) not in constants:
            raise NotStreamableError(f"computes {name}, a weight, anew for each sound")
        return constants[stored]

    def _keep(self, node: NodeProto, time: int, kernel: int, stride: int, left: int) -> None:
        """Put the columns kept before the input of a convolution, and give those of the next call."""
        lost = -(-(self.lag + kernel - left) // stride) - 1
        columns, number = stride * lost + left - self.lag, len(self.kept)
        kept = _Kept(
            name=f"state_{number}",
            shape=[columns if size is None else size for size in self.shape],
            element=TensorProto.UINT8 if node.op_type == "QLinearConv" else TensorProto.FLOAT,
            stride=self.stride,
            columns=columns,
            cut=columns - left,
            offset=stride * lost,
        )
        self.kept.append(kept)
        axes = self._constant([time])
        self.graph.add("Slice", [kept.name, f"cut_{number}", self._constant([columns]), axes], f"{kept.name}@left")
        joined = self.graph.add("Concat", [f"{kept.name}@left", node.input[0]], f"{kept.name}@joined", axis=time)
        self.graph.add("Slice", [joined, f"start_{number}", f"end_{number}", axes], f"new_{kept.name}")
        node.input[0] = joined
        self.lead += self.stride * left
        self.reach += self.stride * (kernel - left - stride)
        self.lag, self.stride = lost, self.stride * stride

    def _constant(self, values: list[int]) -> str:
        return self.graph.constant(np.array(values, np.int64), "stream")

    def _join(self, memory: str, takers: list[NodeProto]) -> None:
        """All memory frames: those of earlier calls, the rows of this one, and behind a sound those of silence."""
        graph, kept = self.graph, self.kept
        graph.add("Identity", [memory], ROWS)
        graph.add("Concat", ["memory", memory], "earlier", axis=1)
        graph.add("Slice", ["earlier", self._constant([0]), "until", self._constant([1])], "known")
        graph.add("Concat", ["known", "silent"], "all_memory", axis=1)
        for node in takers:
            for index, name in enumerate(node.input):
                if name == memory:
                    node.input[index] = "all_memory"
        steps = [self.frames_per_memory // each.stride for each in kept]
        for name, inputs in {"come": ("blocks", steps), "before": ("first", [each.offset for each in kept])}.items():
            graph.add("Mul", [inputs[0], self._constant(inputs[1])], name)
        graph.add("Sub", ["come", "before"], "starts")
        graph.add("Add", ["starts", self._constant([each.columns for each in kept])], "ends")
        graph.add("Mul", ["first", self._constant([each.cut for each in kept])], "cuts")
        for name in ("start", "end", "cut"):
            parts = [f"{name}_{number}" for number in range(len(kept))]
            graph.nodes.append(helper.make_node("Split", [f"{name}s"], parts, axis=0, num_outputs=len(kept)))

    def _model(self, width: int) -> onnx.ModelProto:
        graph = self.graph
        graph.add_input("blocks", TensorProto.INT64, [1])
        graph.add_input("first", TensorProto.INT64, [1])
        graph.add_input("until", TensorProto.INT64, [1])
        graph.add_input("memory", TensorProto.FLOAT, [1, "before", width])
        graph.add_input("silent", TensorProto.FLOAT, [1, "behind", width])
        graph.add_output(ROWS, TensorProto.FLOAT, [1, "new", width])
        for kept in self.kept:
            graph.add_input(kept.name, kept.element, kept.shape)
            graph.add_output(f"new_{kept.name}", kept.element, kept.shape)
        model = graph.model()
        del model.graph.value_info[:]  # sizes of a fixed window
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "frames"
        onnx.checker.check_model(model)
        return model
