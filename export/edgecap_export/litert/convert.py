"""A student's graphs as one float32 LiteRT program, by litert-torch."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from edgecap.errors import EdgecapError
from edgecap.util.stderr import silent_library
from edgecap_export.graphs.onnx_export import (
    DECODE_INPUTS,
    DECODE_OUTPUTS,
    ENCODE_INPUTS,
    ENCODE_OUTPUTS,
    EXPORT_BEAMS,
    DecodeGraph,
    EncodeGraph,
    example_decode_inputs,
    example_encode_inputs,
    memory_frames,
)
from edgecap_export.graphs.waveform import WAVEFORM_INPUTS, WaveformEncodeGraph, example_waveform_inputs
from edgecap_export.runtimes import Work


class Named(nn.Module):
    """A graph whose outputs have names, which is where the converter takes a signature's from."""

    def __init__(self, graph: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module, self.names = graph, names  # a traced module has a "graph" of its own

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Inputs by name → outputs by name."""
        return dict(zip(self.names, self.module(**inputs), strict=True))


def float_program(work: Work) -> bytes:
    """Both graphs of a student as signatures of one program. Raises EdgecapError where the converter refuses them."""
    student, window = work.student, work.window
    encode: nn.Module = EncodeGraph(student)
    sound = dict(zip(ENCODE_INPUTS, example_encode_inputs(student, window), strict=True))
    if work.encoder_input == "waveform":
        encode = WaveformEncodeGraph(student, window)
        sound = dict(zip(WAVEFORM_INPUTS, example_waveform_inputs(student, window), strict=True))
    steps = example_decode_inputs(student, memory_frames(student, window), EXPORT_BEAMS)
    with quiet():
        import litert_torch

        try:
            converter = litert_torch.signature("encode", Named(encode, ENCODE_OUTPUTS).eval(), sample_kwargs=sound)
            converter.signature(
                "decode",
                Named(DecodeGraph(student), DECODE_OUTPUTS).eval(),
                sample_kwargs=dict(zip(DECODE_INPUTS, steps, strict=True)),
            )
            content: Any = converter.convert().model_content()
        except Exception as error:  # the converter's own exceptions share no base class
            raise refused("litert-torch does not convert", error) from error
    return bytes(content)


def refused(what: str, error: Exception) -> EdgecapError:
    """The one line for a tool that refuses a model."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return EdgecapError(
        f'{what} this model ({reason}); type: pip install "edgecap[export-litert]" for the versions '
        "that edgecap was tested with"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the progress, remarks and warnings of the converter and the quantiser off the terminal."""
    os.environ["LITERT_TORCH_SHOW_PROGRESS"] = "n"
    os.environ.setdefault("TQDM_DISABLE", "1")
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)  # also keeps PyTorch from writing a trace for whoever listens to all of it
    try:
        with warnings.catch_warnings(), silent_library():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
