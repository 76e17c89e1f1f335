"""The two graphs of a student, as PyTorch modules and as ONNX.

`EncodeGraph` and `DecodeGraph` take and give what `edgecap.bundle.manifest` says of a bundle's graphs; every
export starts from them. Knows nothing about bundles. ONNX: opset 18, one file without external data,
BatchNorm folded into the convolutions, no trace of the machine that exported it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from edgecap.errors import ShapeMismatchError
from edgecap.runtimes import GraphRole
from edgecap_train.models.student import Student

OPSET = 18
"""ONNX operator set: it has every operator of the graphs, and ONNX Runtime 1.20 and later support it."""
EXPORT_BEAMS = 3
"""Beams of the example that is traced; the graph takes any number."""

ENCODE_INPUTS = ("log_mel", "memory_length")
ENCODE_OUTPUTS = ("cross_keys", "cross_values", "clip_embedding")
DECODE_INPUTS = ("tokens", "position", "memory_length", "self_keys", "self_values", "cross_keys", "cross_values")
DECODE_OUTPUTS = ("log_probs", "new_self_keys", "new_self_values")


class EncodeGraph(nn.Module):
    """One clip's log-mel to everything that the decoder needs of it."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, log_mel: Tensor, memory_length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`log_mel` (1, n_mels, T), `memory_length` (1,) → as `edgecap.bundle.manifest.EncoderSpec` says."""
        memory = self.student.encode(log_mel)
        keys, values = self.student.decoder.cross_cache(memory)
        return keys[:, 0], values[:, 0], self.student.clip_embedding(memory, memory_length)


class DecodeGraph(nn.Module):
    """One token for each beam of one clip."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.decoder = student.decoder

    def forward(  # noqa: PLR0917
        self,
        tokens: Tensor,
        position: Tensor,
        memory_length: Tensor,
        self_keys: Tensor,
        self_values: Tensor,
        cross_keys: Tensor,
        cross_values: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Shapes as `edgecap.bundle.manifest.DecoderSpec` says; all beams attend to the same clip."""
        return self.decoder.step(
            tokens, position, memory_length, self_keys, self_values, cross_keys[:, None], cross_values[:, None]
        )


@dataclass(frozen=True)
class OnnxGraphs:
    """Both graphs as the bytes of their files."""

    encode: bytes
    decode: bytes

    def by_role(self) -> dict[GraphRole, bytes]:
        """Role in a bundle → bytes."""
        return {"encode": self.encode, "decode": self.decode}


def example_encode_inputs(student: Student, window_frames: int) -> tuple[Tensor, ...]:
    """Silence of a whole window, in the order of ENCODE_INPUTS."""
    front_end = student.config.front_end
    log_mel = torch.full((1, front_end.n_mels, window_frames), front_end.silence)
    return log_mel, student.memory_length(torch.tensor([window_frames]))


def example_decode_inputs(student: Student, memory_frames: int, beams: int) -> tuple[Tensor, ...]:
    """The first step over an empty memory, in the order of DECODE_INPUTS."""
    config = student.config
    head_dim = config.d_model // config.heads
    cache = (config.layers, beams, config.heads, config.max_tokens, head_dim)
    cross = (config.layers, config.heads, memory_frames, head_dim)
    tokens = torch.ones(beams, dtype=torch.int64)
    # one tensor given twice would become one input of the exported graph
    caches = torch.zeros(cache), torch.zeros(cache), torch.zeros(cross), torch.zeros(cross)
    return tokens, torch.tensor([0]), torch.tensor([memory_frames]), *caches


def memory_frames(student: Student, window_frames: int) -> int:
    """Memory frames of a window."""
    with torch.inference_mode():
        return student.encode(example_encode_inputs(student, window_frames)[0]).shape[1]


def onnx_encoder(student: Student, window_frames: int) -> bytes:
    """Export the encoder of a student in eval mode for windows of `window_frames` log-mel frames."""
    inputs = example_encode_inputs(student, window_frames)
    return bytes(onnx_model(EncodeGraph(student), inputs, ENCODE_INPUTS, ENCODE_OUTPUTS, None).SerializeToString())


def onnx_graphs(student: Student, window_frames: int) -> OnnxGraphs:
    """Export both graphs of a student in eval mode, the decoder's one step by step."""
    beams = torch.export.Dim("beams", min=1, max=64)
    cache = {1: beams}
    decode = onnx_model(
        DecodeGraph(student),
        example_decode_inputs(student, memory_frames(student, window_frames), EXPORT_BEAMS),
        DECODE_INPUTS,
        DECODE_OUTPUTS,
        ({0: beams}, None, None, cache, cache, None, None),
    )
    return OnnxGraphs(onnx_encoder(student, window_frames), decode.SerializeToString())


def onnx_model(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    dynamic_shapes: tuple[dict[int, Any] | None, ...] | None,
) -> onnx.ModelProto:
    """One module to a checked ONNX model. Raises ShapeMismatchError where an axis of `dynamic_shapes` became fixed."""
    with _quiet_exporter():
        program = torch.onnx.export(
            module.eval(),
            inputs,
            dynamo=True,
            input_names=list(input_names),
            output_names=list(output_names),
            dynamic_shapes=dynamic_shapes,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    # torch builds it with its own copy of the schema's classes; bytes are what both sides agree on
    model = onnx.load_from_string(program.model_proto.SerializeToString())
    _forget_machine(model)
    onnx.checker.check_model(model, full_check=True)
    check_dynamic(model, dynamic_shapes or ())
    return model


def check_dynamic(model: onnx.ModelProto, dynamic_shapes: Sequence[dict[int, Any] | None]) -> None:
    """Hold the exporter to the axes that may have any size: it fixes one without a word where the example has one."""
    for item, axes in zip(model.graph.input, dynamic_shapes, strict=False):
        for axis in axes or ():
            if not item.type.tensor_type.shape.dim[axis].dim_param:
                size = item.type.tensor_type.shape.dim[axis].dim_value
                raise ShapeMismatchError(
                    f"the exporter fixed axis {axis} of the input {item.name} at {size}, and it must take any size; "
                    "install the version of torch that edgecap was tested with"
                )


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter's warnings about packages that edgecap does not use off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _forget_machine(model: onnx.ModelProto) -> None:
    """Drop the source lines that the exporter notes on every node, and constants that no node uses."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    kept = [item for item in graph.initializer if item.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
