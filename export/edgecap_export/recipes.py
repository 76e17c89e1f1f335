"""Recipes of precision: how float graphs are quantised, as one frozen dataclass that travels in the manifest.

A recipe says what is done, not how (`edgecap_export.quantisation`). The choices in `INT8` were measured on x86-64 with
AVX-512 VNNI in ONNX Runtime 1.32, one thread; the comments give the times.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal

from edgecap.bundle.manifest import Precision

ConvKind = Literal["plain", "pointwise", "depthwise"]
"""A convolution over all channels with a kernel above 1x1; one of 1x1; one of a single channel each."""


@dataclass(frozen=True, kw_only=True)
class ExportRecipe:
    """How float graphs become graphs of another precision."""

    name: str
    precision: Precision
    convolutions: tuple[ConvKind, ...] = ()
    """Kinds that run in static int8: weights signed, one scale for each channel; activations unsigned, one scale."""
    dynamic: tuple[ConvKind, ...] = ()
    """Kinds that run in int8 with the range of each input computed at run time: float inputs and outputs."""
    float_first: int = 0
    """So many of those, counted from the input, stay in float."""
    least_inputs: int = 0
    """1x1 convolutions of fewer channels stay in float."""
    keep: tuple[str, ...] = ()
    """Names of nodes of the float graph that stay in float whatever their kind."""
    percentile: float = 99.99
    """How much of an activation's values in calibration its range covers, in per cent; as much is cut off at either
    end."""
    products: bool = False
    """Whether the matrix products with weights run in int8 with the range of each input computed at run time."""
    half_weights: bool = False
    """Whether float weights are stored as float16; they are widened when the graph is loaded."""
    maps: bool = False
    """Whether what joins the convolutions (swish, squeeze-excite, sums, padding) runs in static int8 too, so that maps
    are bytes from the first convolution to the last."""
    half_arithmetic: bool = False
    """Whether a processor that calculates in float16 may do so."""


FP32 = ExportRecipe(name="fp32", precision="fp32")
FP16 = ExportRecipe(name="fp16-weights", precision="fp16", half_weights=True)
# The stem (plain) stays in float: its one input channel makes int8 slower than float there.
INT8 = ExportRecipe(
    name="int8-static-convolutions-dynamic-products",
    precision="int8",
    convolutions=("pointwise", "depthwise"),
    products=True,
    half_weights=True,
)
# In ONNX Runtime the depthwise convolution behind the stem stays in float, too: its 32 channels take 0.41 ms in bytes
# and 0.15 ms in the blocks of floats that the stem gives.
INT8_STEM = replace(INT8, name=f"{INT8.name}-stem", float_first=1)
# EfficientNet's depthwise convolutions stay in float: ONNX Runtime's blocked kernels take 0.66 of the time of its int8
# ones, and a swish on either side needs floats anyway. So do expansions from 16 and 24 channels, where the bytes' gain
# goes into making floats of the answers. docs/export.md has what was tried and what it gave.
INT8_SWISH = replace(INT8, name=f"{INT8.name}-swish", convolutions=("pointwise",), float_first=3, least_inputs=48)
RECIPES: dict[Precision, ExportRecipe] = {"fp32": FP32, "fp16": FP16, "int8": INT8}
"""Recipes of all precisions for ReLU encoders."""


def render_recipe(recipe: ExportRecipe) -> str:
    """One line of JSON."""
    return json.dumps(asdict(recipe), sort_keys=True)
