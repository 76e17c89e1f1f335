"""A student's graphs as one float32 LiteRT program, by litert-torch."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgecap.errors import ToolchainError, install_extra
from edgecap.util.stderr import silent_library
from edgecap_export.graphs.onnx_export import (
    DECODE_INPUTS,
    DECODE_OUTPUTS,
    ENCODE_OUTPUTS,
    EXPORT_BEAMS,
    DecodeGraph,
    example_decode_inputs,
    memory_frames,
)
from edgecap_export.graphs.waveform import GraphFrontEnd, encoder_graph
from edgecap_export.litert.search import search_graphs
from edgecap_export.runtimes import LoweringRequest


class NamedOutputs(nn.Module):
    """A graph that takes inputs and gives outputs by name; the converter takes the names of a signature from them."""

    def __init__(self, graph: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.module, self.inputs, self.outputs = graph, inputs, outputs  # a traced module has a "graph" of its own

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Inputs by name → outputs by name."""
        given = (inputs[name] for name in self.inputs)
        return dict(zip(self.outputs, self.module(*given), strict=True))


class LiteRtFrontEnd(GraphFrontEnd):
    """With one operator of LiteRT: PyTorch's own becomes six and a graph beside, which `Program` does not follow."""

    def written(self, samples: Tensor, part: Tensor, place: Tensor) -> Tensor:
        """As the base class says."""
        from litert_torch.generative.custom_ops.dynamic_update_slice import dynamic_update_slice

        zero = torch.zeros((), dtype=torch.int32)
        return torch.as_tensor(dynamic_update_slice(samples, part, [zero, place.to(torch.int32)[0]]))


@dataclass(frozen=True)
class Signature:
    """What is converted to one signature."""

    name: str
    graph: nn.Module
    example: Mapping[str, Tensor]
    """The inputs."""
    outputs: tuple[str, ...]


def float_program(request: LoweringRequest) -> bytes:
    """Both graphs of a student as signatures of one program. Raises ToolchainError where the converter refuses them.

    With the search inside, the decoder is two signatures, which `edgecap_export.litert.search` makes one after
    everything else.
    """
    with quiet():
        import litert_torch

        try:
            converter: Any = litert_torch  # which gives a converter with its first signature
            for each in _signatures(request):
                named = NamedOutputs(each.graph, tuple(each.example), each.outputs).eval()
                converter = converter.signature(each.name, named, sample_kwargs=dict(each.example))
            content: Any = converter.convert().model_content()
        except Exception as error:  # the converter's own exceptions share no base class
            raise refused("litert-torch does not convert", error) from error
    return bytes(content)


def _signatures(request: LoweringRequest) -> list[Signature]:
    student, window = request.student, request.window
    encode, names, example = encoder_graph(student, window, request.encoder_input, LiteRtFrontEnd)
    encoder = Signature("encode", encode, dict(zip(names, example, strict=True)), ENCODE_OUTPUTS)
    if request.search == "in-graph":
        return [encoder, *(Signature(*parts) for parts in search_graphs(student, memory_frames(student, window)))]
    steps = example_decode_inputs(student, memory_frames(student, window), EXPORT_BEAMS)
    decode = DecodeGraph(student)
    return [encoder, Signature("decode", decode, dict(zip(DECODE_INPUTS, steps, strict=True)), DECODE_OUTPUTS)]


def refused(what: str, error: Exception) -> ToolchainError:
    """The error, of one line, for a tool that refuses a model."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ToolchainError(
        f"{what} this model ({reason}); for the versions that edgecap was tested with type: "
        f"{install_extra('export-litert')}"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the progress and warnings of the converter and the quantiser off the terminal."""
    os.environ["LITERT_TORCH_SHOW_PROGRESS"] = "n"
    os.environ.setdefault("TQDM_DISABLE", "1")
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)  # also keeps PyTorch from formatting a trace of it all
    try:
        with warnings.catch_warnings(), silent_library():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
