"""int8 for ExecuTorch by PyTorch's own path (PT2E) and XNNPACK's quantiser: a recipe and ranges in, a program out.

Convolutions run on bytes with ranges measured beforehand, or (`ExportRecipe.dynamic`) with the range of each input
taken as it comes; products with weights always take the range as it comes. Weights have a scale for each channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from edgecap.errors import ToolchainError
from edgecap_export.quantisation.int8_plan import FIRST
from edgecap_export.quantisation.quantise import Range, simplified
from edgecap_export.recipes import ConvKind, ExportRecipe
from edgecap_export.runtimes import LoweringRequest

aten = torch.ops.aten
NARROW = 32
"""Channels that come out of a pointwise convolution, below which a dynamic range costs more than bytes gain."""
_SAME_VALUES = {aten.pad.default, aten.constant_pad_nd.default, aten.view.default, aten.reshape.default}
"""Operators whose output has the range of their input (a pad's zeros lie in every range)."""


class SmallTable(nn.Module):
    """An embedding whose rows are signed bytes with a scale each, or float16; `weight` stays for the classifier."""

    def __init__(self, weight: Tensor, *, int8: bool) -> None:
        super().__init__()
        self.weight = weight
        table = weight.detach()
        scales = table.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127 if int8 else None
        self.register_buffer("rows", table.half() if scales is None else (table / scales).round().to(torch.int8))
        self.register_buffer("scales", scales)
        self.rows: Tensor
        self.scales: Tensor | None

    def forward(self, tokens: Tensor) -> Tensor:
        """(B,) int64 → (B, width) float32."""
        rows = self.rows.index_select(0, tokens).float()
        return rows if self.scales is None else rows * self.scales.index_select(0, tokens)


def quantised(
    program: ExportedProgram,
    samples: Sequence[tuple[Tensor, ...]],
    recipe: ExportRecipe,
    *,
    ranges: Mapping[str, Range] = MappingProxyType({}),
    stays: Mapping[str, str] = MappingProxyType({}),
) -> ExportedProgram:
    """An exported graph as a program that works on bytes where the recipe says so.

    `samples` are inputs to observe ranges on, at least one; `ranges` replace the observed ones of the nodes that they
    name. `stays` names the convolutions that are left in float.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import ComposableQuantizer

    prepared = prepare_pt2e(program.module(), ComposableQuantizer(_quantizers(recipe, stays)))
    with torch.inference_mode():
        for sample in samples:
            prepared(*sample)
    _set_ranges(prepared, ranges)
    converted = convert_pt2e(prepared)
    check_quantised(converted, recipe, stays)
    return torch.export.export(converted, samples[0])


def check_quantised(graph: GraphModule, recipe: ExportRecipe, stays: Mapping[str, str]) -> None:
    """Hold the quantiser to the recipe: it leaves operators that it does not know in float without a word.

    Raises ToolchainError with the first that should work on bytes and does not.
    """
    for node in graph.graph.nodes:
        convolution = node.target in {aten.conv1d.default, aten.conv2d.default}
        if not (convolution and (recipe.convolutions or recipe.dynamic)) and not (
            recipe.products and node.target == aten.linear.default
        ):
            continue
        weight = node.args[1]
        if node.name not in stays and "dequantize" not in str(weight.target):
            raise ToolchainError(
                f"PyTorch's quantiser left {node.name} in float, which the recipe {recipe.name} wants in int8; "
                "name it in the recipe's keep, or export another precision"
            )


def staying(program: ExportedProgram, recipe: ExportRecipe) -> dict[str, str]:
    """The convolutions of an exported graph that a recipe leaves in float, and why."""
    stays = {}
    chosen = 0
    for node in _convolutions(program):
        kind = kind_of(node)
        if kind not in (*recipe.convolutions, *recipe.dynamic):
            stays[node.name] = f"{kind}: the recipe quantises {', '.join((*recipe.convolutions, *recipe.dynamic))}"
            continue
        chosen += 1
        if chosen <= recipe.float_first:
            stays[node.name] = FIRST
        elif node.name in recipe.keep:
            stays[node.name] = "the recipe keeps it in float"
        elif kind in recipe.dynamic and node.meta["val"].shape[1] < NARROW:
            stays[node.name] = f"fewer than {NARROW} channels come out: computing the range costs more than int8 gains"
    return stays


def measured(program: ExportedProgram, request: LoweringRequest) -> dict[str, Range]:
    """The ranges that calibration measured on the float ONNX encoder, by the nodes of PyTorch's exported graph.

    Both come from one definition: most names are the same, and the convolutions, which ONNX names after the
    normalisation that is folded into them, are the same in number and order.
    """
    ranges = request.calibration.ranges
    if ranges is None or not request.recipe.convolutions:
        return {}
    spans = ranges.of(request.recipe)
    model = simplified(onnx.load_from_string(request.float_graphs.encode))
    outputs = [node.output[0] for node in model.graph.node if node.op_type == "Conv"]
    named = {node.name: output for node, output in zip(_convolutions(program), outputs, strict=True)}
    names = {node.name: named.get(node.name, node.name) for node in program.graph.nodes}
    return {name: spans[tensor] for name, tensor in names.items() if tensor in spans}


def kind_of(convolution: Node) -> ConvKind:
    """The kind of a `conv2d` node by the shape of its weight."""
    weight = convolution.args[1]
    assert isinstance(weight, Node)
    _, inputs, height, width = weight.meta["val"].shape
    if inputs == 1 and len(convolution.args) > 6 and convolution.args[6] != 1:
        return "depthwise"
    return "pointwise" if height == width == 1 else "plain"


def _convolutions(program: ExportedProgram) -> list[Node]:
    return [node for node in program.graph.nodes if node.target == aten.conv2d.default]


def _quantizers(recipe: ExportRecipe, stays: Mapping[str, str]) -> list[Any]:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer

    class Exactly(XNNPACKQuantizer):  # type: ignore[misc] # torchao has no types
        """Annotates the chosen operators only, not the means and shapes behind them, whose ranges are unknown."""

        def annotate(self, model: GraphModule) -> GraphModule:
            annotated: GraphModule = self._annotate_for_quantization_config(model)
            return annotated

    def convolutions(configuration: Any, kinds: tuple[ConvKind, ...]) -> Any:  # noqa: ANN401
        quantiser = Exactly().set_operator_type(aten.conv2d.default, configuration)
        return quantiser.set_filter_function(
            lambda node: node.target != aten.conv2d.default or (node.name not in stays and kind_of(node) in kinds)
        )

    quantizers = [convolutions(_static(), recipe.convolutions), convolutions(_dynamic(), recipe.dynamic)]
    if recipe.products:
        quantizers.append(Exactly().set_operator_type(aten.linear.default, _dynamic()))
    return quantizers


@cache
def _static() -> Any:  # noqa: ANN401 - torchao's configuration
    """Bytes in, bytes out, ranges fixed."""
    from torchao.quantization.pt2e import MinMaxObserver
    from torchao.quantization.pt2e.quantizer import QuantizationConfig, QuantizationSpec

    activation = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
        is_dynamic=False,
        observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=2**-12),
    )
    return QuantizationConfig(activation, activation, _weights(), None, False)


@cache
def _dynamic() -> Any:  # noqa: ANN401
    """Bytes inside, floats around it."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import get_symmetric_quantization_config

    return get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)


def _weights() -> Any:  # noqa: ANN401
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import get_symmetric_quantization_config

    return get_symmetric_quantization_config(is_per_channel=True).weight


def _set_ranges(prepared: GraphModule, ranges: Mapping[str, Range]) -> None:
    """Replace what the observers saw by measured ranges."""
    observers: list[Any] = [node for node in prepared.graph.nodes if node.op == "call_module"]
    for node in observers:
        observer: Any = prepared.get_submodule(node.target)
        source = node.args[0]
        while source.target in _SAME_VALUES or source.op == "call_module":
            source = source.args[0]
        if source.name in ranges and hasattr(observer, "min_val") and observer.min_val.dim() == 0:
            low, high = ranges[source.name]
            observer.min_val.fill_(low)
            observer.max_val.fill_(high)
