"""ONNX Runtime's lowering: the float graphs by a recipe, for any number of beams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import onnx
from onnx import compose

from edgecap.bundle.manifest import Precision
from edgecap.errors import BundleError
from edgecap_export.graphs.onnx_export import OnnxGraphs, memory_frames, onnx_model
from edgecap_export.graphs.waveform import WAVEFORM_INPUTS, GraphFrontEnd, example_waveform_inputs
from edgecap_export.onnx.channel_groups import grouped
from edgecap_export.onnx.search import search_graph, search_step
from edgecap_export.quantisation.int8_plan import plan
from edgecap_export.quantisation.onnx_graph import all_nodes
from edgecap_export.quantisation.quantise import Range, quantise_encoder, simplified
from edgecap_export.quantisation.weights import halve_weights, quantise_products
from edgecap_export.recipes import INT8_STEM, INT8_SWISH, RECIPES, ExportRecipe
from edgecap_export.runtimes import Lowered, LoweringRequest
from edgecap_train.models.student import Student

INT8_OPERATORS = {"QLinearConv", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
"""Operators of the graphs made here that calculate with bytes."""


class OnnxLowering:
    """Two `.onnx` files."""

    def recipe(self, precision: Precision, architecture: str) -> ExportRecipe:
        """The best measured recipe of a precision for an encoder."""
        if precision == "int8":
            return INT8_SWISH if architecture == "efficientnet-b2" else INT8_STEM
        return RECIPES[precision]

    def lower(self, request: LoweringRequest) -> Lowered:
        """Quantise the float graphs by the recipe, and put the front end before the encoder where it is inside.

        Raises BundleError for stored ranges that do not fit the graph.
        """
        recipe, ranges, stays = request.recipe, None, {}
        if recipe.convolutions:
            if request.calibration.ranges is None:
                raise ValueError(f"the recipe {recipe.name} needs ranges")
            ranges = request.calibration.ranges.of(recipe)
            planned = plan(simplified(onnx.load_from_string(request.float_graphs.encode)), recipe)
            unknown = [name for name in planned.tensors if name not in ranges]
            if unknown:  # tensors have the names that the exporter gave when they were measured
                raise BundleError(
                    f"the stored ranges lack {unknown[0]!r} and {len(unknown) - 1} more tensors of this "
                    "graph, which another version of PyTorch may have named; give --calibration FOLDER"
                )
            stays = planned.stays
        if request.search == "in-graph":
            graphs = searching_graphs(recipe, request.student, request.window, request.float_graphs.encode, ranges)
        else:
            graphs = apply_recipe(recipe, request.float_graphs, ranges)
        if request.encoder_input == "waveform":
            graphs = replace(graphs, encode=_with_front_end(graphs.encode, request))
        return Lowered(graphs=graphs.by_role(), operators=count_operators(graphs), stays_float=stays)


def searching_graphs(
    recipe: ExportRecipe, student: Student, window: int, encode: bytes, ranges: Mapping[str, Range] | None = None
) -> OnnxGraphs:
    """A student's float encoder graph by `recipe`, and its decoder with the search inside."""
    graphs = apply_recipe(recipe, OnnxGraphs(encode, search_step(student).SerializeToString()), ranges)
    loop = search_graph(onnx.load_from_string(graphs.decode), student.config, memory_frames(student, window))
    return replace(graphs, decode=loop.SerializeToString())


def apply_recipe(recipe: ExportRecipe, graphs: OnnxGraphs, ranges: Mapping[str, Range] | None = None) -> OnnxGraphs:
    """Float graphs by `recipe`; `ranges` of the simplified encoder graph where it quantises convolutions."""
    encode, decode = onnx.load_from_string(graphs.encode), onnx.load_from_string(graphs.decode)
    if recipe.convolutions and ranges is not None:
        encode = quantise_encoder(simplified(encode), ranges, recipe)
    else:  # in int8 this gains 3 % and turns bytes, so that two of 102 captions fewer are float32's
        encode = grouped(encode)
    if recipe.products:
        encode, decode = quantise_products(encode, recipe.keep), quantise_products(decode, recipe.keep)
    if recipe.half_weights:
        encode, decode = halve_weights(encode), halve_weights(decode)
    if recipe.precision != "fp32":
        for model in (encode, decode):
            onnx.checker.check_model(model)
    return OnnxGraphs(encode.SerializeToString(), decode.SerializeToString())


def count_operators(graphs: OnnxGraphs) -> dict[str, int]:
    """ "graph: operator (precision)" → how many; int8 is what calculates with bytes."""
    counts: Counter[str] = Counter()
    for name, graph in graphs.by_role().items():
        for node in all_nodes(onnx.load_from_string(graph).graph):
            counts[f"{name}: {node.op_type} ({'int8' if node.op_type in INT8_OPERATORS else 'float'})"] += 1
    return dict(sorted(counts.items()))


def _with_front_end(encode: bytes, request: LoweringRequest) -> bytes:
    """The encoder with the front end before it, which is in float32 whatever the recipe says."""
    front_end = GraphFrontEnd(request.student.config.front_end, request.window)
    inputs = example_waveform_inputs(request.student, request.window)[:2]
    front = onnx_model(front_end, inputs, WAVEFORM_INPUTS[:2], ("log_mel",), None)
    behind = onnx.load_from_string(encode)
    named = compose.add_prefix(front, "front_end/", rename_inputs=False, rename_outputs=False)
    for domain in behind.opset_import:
        if domain.domain not in {item.domain for item in named.opset_import}:
            named.opset_import.append(domain)
    merged = compose.merge_models(named, behind, io_map=[("log_mel", "log_mel")])
    onnx.checker.check_model(merged)
    return bytes(merged.SerializeToString())
