"""A student's graphs as one float32 LiteRT program, by litert-torch."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
from edgecap_export.graphs.waveform import encoder_graph
from edgecap_export.runtimes import LoweringRequest


class NamedOutputs(nn.Module):
    """A graph that gives its outputs by name; the converter takes the names of a signature from them."""

    def __init__(self, graph: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module, self.names = graph, names  # a traced module has a "graph" of its own

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Inputs by name → outputs by name."""
        return dict(zip(self.names, self.module(**inputs), strict=True))


def float_program(request: LoweringRequest) -> bytes:
    """Both graphs of a student as signatures of one program. Raises ToolchainError where the converter refuses them."""
    student, window = request.student, request.window
    encode, names, example = encoder_graph(student, window, request.encoder_input)
    sound = dict(zip(names, example, strict=True))
    steps = example_decode_inputs(student, memory_frames(student, window), EXPORT_BEAMS)
    with quiet():
        import litert_torch

        try:
            converter = litert_torch.signature(
                "encode", NamedOutputs(encode, ENCODE_OUTPUTS).eval(), sample_kwargs=sound
            )
            converter.signature(
                "decode",
                NamedOutputs(DecodeGraph(student), DECODE_OUTPUTS).eval(),
                sample_kwargs=dict(zip(DECODE_INPUTS, steps, strict=True)),
            )
            content: Any = converter.convert().model_content()
        except Exception as error:  # the converter's own exceptions share no base class
            raise refused("litert-torch does not convert", error) from error
    return bytes(content)


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
