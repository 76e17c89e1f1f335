"""ExecuTorch's lowering: one `.pte` with the methods `encode` and `decode`.

Method by method: the graph as PyTorch exports it, int8 by its own quantiser (`quantise`), operators that XNNPACK's
delegate knows (`rewrites`), one program (`program`).
"""

from __future__ import annotations

import copy
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgecap.bundle.manifest import Precision
from edgecap.errors import EdgecapError, ToolchainError
from edgecap_export.executorch.half import half_weights
from edgecap_export.executorch.program import build_program, quiet_toolchain
from edgecap_export.executorch.quantise import SmallTable, measured, quantised, staying
from edgecap_export.executorch.rewrites import fold_padding, rewritten
from edgecap_export.executorch.search import BufferedSearchStep, clear_caches, search_inputs
from edgecap_export.graphs.onnx_export import EXPORT_BEAMS, DecodeGraph, example_decode_inputs, memory_frames
from edgecap_export.graphs.waveform import encoder_graph
from edgecap_export.recipes import RECIPES, ExportRecipe
from edgecap_export.runtimes import Lowered, LoweringRequest

OBSERVED = 8
"""Log-mels that ranges are observed on where none was measured."""

# XNNPACK has no swish on bytes: with fixed ranges every map of EfficientNet goes from bytes to floats and back for it.
# Where only the pointwise convolutions' inputs become bytes, the maps stay floats, and next to nothing is lost.
INT8_SWISH = ExportRecipe(
    name="int8-dynamic-pointwise-dynamic-products",
    precision="int8",
    dynamic=("pointwise",),
    products=True,
    half_weights=True,
)


class ExecuTorchLowering:
    """One `.pte`, fixed to `EXPORT_BEAMS` beams."""

    def recipe(self, precision: Precision, architecture: str) -> ExportRecipe:
        """The best measured recipe of a precision for an encoder."""
        return INT8_SWISH if precision == "int8" and architecture == "efficientnet-b2" else RECIPES[precision]

    def lower(self, request: LoweringRequest) -> Lowered:
        """Export, quantise and delegate both graphs. Raises ToolchainError where the toolchain refuses them."""
        with quiet_toolchain():
            try:
                return _lower(request)
            except EdgecapError:
                raise
            except Exception as error:  # the toolchain's own share no base class
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise ToolchainError(
                    f"ExecuTorch's toolchain refuses the model ({reason}); nothing was written"
                ) from error


def _lower(request: LoweringRequest) -> Lowered:
    recipe, student = request.recipe, copy.deepcopy(request.student).requires_grad_(False)
    if recipe.precision != "fp32":
        table = SmallTable(student.decoder.embedding.weight, int8=recipe.precision == "int8")
        student.decoder.add_module("embedding", table)
    encoder, _, encode_inputs = encoder_graph(student, request.window, request.encoder_input)
    frames, searches = memory_frames(request.student, request.window), request.search == "in-graph"
    decoder = BufferedSearchStep(student) if searches else DecodeGraph(student)
    decode_inputs = search_inputs(student, frames) if searches else example_decode_inputs(student, frames, EXPORT_BEAMS)
    encode, decode = _exported(encoder, encode_inputs), _exported(decoder, decode_inputs)
    fold_padding(encode)
    stays: dict[str, str] = {}
    if recipe.precision == "int8":
        stays = staying(encode, recipe)
        # measured ranges replace all that they name, and a front end in the graph takes no log-mels
        log_mels = () if request.encoder_input == "waveform" else request.calibration.log_mels[:OBSERVED]
        samples: list[tuple[Tensor, ...]] = [(torch.from_numpy(log_mel), encode_inputs[1]) for log_mel in log_mels]
        ranges = measured(encode, request)
        encode = quantised(encode, samples or [encode_inputs], recipe, ranges=ranges, stays=stays)
        decode = quantised(decode, [decode_inputs], recipe)
        clear_caches(decode)
    with half_weights() if recipe.half_weights else nullcontext():
        # a search chooses between infinities, of which products make no choice
        steps = rewritten(decode, leave=[torch.ops.aten.where.self]) if searches else rewritten(decode)
        built = build_program({"encode": rewritten(encode), "decode": steps}, searches=searches)
    return Lowered(
        graphs={"program": built.content},
        operators=built.operators,
        not_delegated=built.not_delegated,
        delegated=built.delegated,
        stays_float=stays,
        beams=EXPORT_BEAMS,
    )


def _exported(module: nn.Module, inputs: tuple[Tensor, ...]) -> ExportedProgram:
    return torch.export.export(module.eval(), inputs)
