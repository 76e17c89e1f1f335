"""A recipe applied: float graphs of a student in, graphs of another precision out."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from edgecap_export.graphs.onnx_export import OnnxGraphs
from edgecap_export.quantisation.dynamic_matmul import quantise_products
from edgecap_export.quantisation.fp16_weights import halve_weights
from edgecap_export.quantisation.quantise import Range, quantise_encoder, simplified
from edgecap_export.recipes import ExportRecipe


def apply_recipe(recipe: ExportRecipe, graphs: OnnxGraphs, ranges: Mapping[str, Range] | None = None) -> OnnxGraphs:
    """Float graphs by `recipe`; `ranges` of the simplified encoder graph where it quantises convolutions.

    Raises ValueError where ranges are needed and missing.
    """
    encode, decode = onnx.load_from_string(graphs.encode), onnx.load_from_string(graphs.decode)
    if recipe.convolutions:
        if ranges is None:
            raise ValueError(f"the recipe {recipe.name} needs ranges")
        encode = quantise_encoder(simplified(encode), ranges, recipe)
    if recipe.products:
        encode, decode = quantise_products(encode, recipe.keep), quantise_products(decode, recipe.keep)
    if recipe.half_weights:
        encode, decode = halve_weights(encode), halve_weights(decode)
    if recipe.precision != "fp32":
        for model in (encode, decode):
            onnx.checker.check_model(model)
    return OnnxGraphs(encode.SerializeToString(), decode.SerializeToString())
