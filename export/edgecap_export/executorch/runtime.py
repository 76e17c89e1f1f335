"""ExecuTorch's lowering: one `.pte` with the methods `encode` and `decode`. See `edgecap_export.runtimes`.

Method by method: the graph as PyTorch exports it, int8 by its own quantiser (`executorch_quantise`), operators that
XNNPACK's delegate knows (`executorch_rewrites`), one program (`executorch_lowering`).
"""

from __future__ import annotations

import copy
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgecap.bundle.bundle import BundleContent
from edgecap.errors import EdgecapError
from edgecap_export.executorch.half import half_weights
from edgecap_export.executorch.lowering import lowered, quiet_toolchain
from edgecap_export.executorch.quantise import SmallTable, measured, quantised, staying
from edgecap_export.executorch.rewrites import fold_padding, rewritten
from edgecap_export.graphs.onnx_export import (
    EXPORT_BEAMS,
    DecodeGraph,
    EncodeGraph,
    example_decode_inputs,
    example_encode_inputs,
    memory_frames,
)
from edgecap_export.graphs.waveform import WaveformEncodeGraph, example_waveform_inputs
from edgecap_export.recipes import FP16, FP32, ExportRecipe
from edgecap_export.runtimes import Lowered, Precision, Runtime, Work

FILE = "model.pte"
OBSERVED = 8
"""Log-mels that ranges are observed on where none was measured."""
INT8 = ExportRecipe(
    name="int8-static-convolutions-dynamic-products",
    precision="int8",
    convolutions=("pointwise", "depthwise"),
    products=True,
    half_weights=True,
)

# XNNPACK has no swish on bytes: with fixed ranges every map of EfficientNet goes from bytes to floats and back for it.
# Where only the pointwise convolutions' inputs become bytes, the maps stay floats, and next to nothing is lost.
INT8_SWISH = ExportRecipe(
    name="int8-dynamic-pointwise-dynamic-products",
    precision="int8",
    dynamic=("pointwise",),
    products=True,
    half_weights=True,
)


class ExecuTorchRuntime:
    """One `.pte`, fixed to `EXPORT_BEAMS` beams."""

    def recipe(self, precision: Precision, architecture: str) -> ExportRecipe:
        """See `Runtime.recipe`."""
        if precision == "int8" and architecture == "efficientnet-b2":
            return INT8_SWISH
        recipes: dict[Precision, ExportRecipe] = {"fp32": FP32, "fp16": FP16, "int8": INT8}
        return recipes[precision]

    def lower(self, work: Work) -> Lowered:
        """See `Runtime.lower`."""
        with quiet_toolchain():
            try:
                return _lower(work)
            except EdgecapError:
                raise
            except Exception as error:  # the toolchain's own share no base class
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise EdgecapError(
                    f"ExecuTorch's toolchain refuses the model ({reason}); nothing was written"
                ) from error


def _lower(work: Work) -> Lowered:
    recipe, student = work.recipe, copy.deepcopy(work.student)
    if recipe.precision != "fp32":
        table = SmallTable(student.decoder.embedding.weight, whole=recipe.precision == "int8")
        student.decoder.add_module("embedding", table)
    waveform = work.encoder_input == "waveform"
    encode_inputs = (example_waveform_inputs if waveform else example_encode_inputs)(student, work.window)
    decode_inputs = example_decode_inputs(student, memory_frames(work.student, work.window), EXPORT_BEAMS)
    encode = _exported(WaveformEncodeGraph(student, work.window) if waveform else EncodeGraph(student), encode_inputs)
    decode = _exported(DecodeGraph(student), decode_inputs)
    fold_padding(encode)
    stays: dict[str, str] = {}
    if recipe.precision == "int8":
        stays = staying(encode, recipe)
        # what was measured stands for all that it names, and a front end in the graph takes no log-mels
        log_mels = () if waveform else work.calibration.log_mels[:OBSERVED]
        samples: list[tuple[Tensor, ...]] = [(torch.from_numpy(log_mel), encode_inputs[1]) for log_mel in log_mels]
        encode = quantised(encode, encode_inputs, recipe, samples or [encode_inputs], measured(encode, work), stays)
        decode = quantised(decode, decode_inputs, recipe, [decode_inputs], {}, {})
    with half_weights() if recipe.half_weights else nullcontext():
        result = lowered({"encode": rewritten(encode), "decode": rewritten(decode)})
    return Lowered(
        files=(BundleContent(FILE, "program", result.program),),
        operators=result.operators,
        not_delegated=result.not_delegated,
        delegated=result.delegated,
        stays_float=stays,
        beams=EXPORT_BEAMS,
    )


def _exported(module: nn.Module, inputs: tuple[Tensor, ...]) -> ExportedProgram:
    return torch.export.export(module.eval(), inputs)


RUNTIME: Runtime = ExecuTorchRuntime()
