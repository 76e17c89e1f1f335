"""ONNX Runtime's lowering: the float graphs by a recipe. See `edgecap_export.runtimes` for the contract."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import onnx
from onnx import compose

from edgecap.bundle.bundle import BundleContent
from edgecap.errors import BundleError
from edgecap_export.graphs.onnx_export import OnnxGraphs, onnx_model
from edgecap_export.graphs.waveform import WAVEFORM_INPUTS, GraphFrontEnd, example_waveform_inputs
from edgecap_export.quantisation.apply_recipe import apply_recipe
from edgecap_export.quantisation.int8_plan import plan
from edgecap_export.quantisation.quantise import simplified
from edgecap_export.recipes import ExportRecipe, recipe_for
from edgecap_export.runtimes import Lowered, Precision, Runtime, Work


class OnnxRuntime:
    """Two `.onnx` files, for any number of beams."""

    def recipe(self, precision: Precision, architecture: str) -> ExportRecipe:
        """See `Runtime.recipe`."""
        return recipe_for(precision, architecture)

    def lower(self, work: Work) -> Lowered:
        """See `Runtime.lower`."""
        recipe, stays = work.recipe, {}
        ranges = None
        if recipe.convolutions:
            if work.calibration.ranges is None:
                raise ValueError(f"the recipe {recipe.name} needs ranges")
            ranges = work.calibration.ranges.of(recipe)
            planned = plan(simplified(onnx.load_from_string(work.float_graphs.encode)), recipe)
            unknown = [name for name in planned.tensors if name not in ranges]
            if unknown:  # tensors have the names that the exporter gave when they were measured
                raise BundleError(
                    f"the stored ranges lack {unknown[0]!r} and {len(unknown) - 1} more tensors of this "
                    "graph, which another version of PyTorch may have named; give --calibration FOLDER"
                )
            stays = planned.stays
        graphs = apply_recipe(recipe, work.float_graphs, ranges)
        if work.encoder_input == "waveform":
            graphs = replace(graphs, encode=_with_front_end(graphs.encode, work))
        return Lowered(files=graph_files(graphs), operators=count_operators(graphs), stays_float=stays)


def _with_front_end(encode: bytes, work: Work) -> bytes:
    """The encoder with the front end before it, which is in float32 whatever the recipe says."""
    front_end = GraphFrontEnd(work.student.config.front_end, work.window)
    inputs = example_waveform_inputs(work.student, work.window)[:2]
    front = onnx_model(front_end, inputs, WAVEFORM_INPUTS[:2], ("log_mel",), None)
    behind = onnx.load_from_string(encode)
    named = compose.add_prefix(front, "front_end/", rename_inputs=False, rename_outputs=False)
    for domain in behind.opset_import:
        if domain.domain not in {item.domain for item in named.opset_import}:
            named.opset_import.append(domain)
    merged = compose.merge_models(named, behind, io_map=[("log_mel", "log_mel")])
    onnx.checker.check_model(merged)
    return bytes(merged.SerializeToString())


def graph_files(graphs: OnnxGraphs) -> tuple[BundleContent, ...]:
    """The two files of a bundle for ONNX Runtime."""
    encode = BundleContent("encode.onnx", "encode", graphs.encode)
    decode = BundleContent("decode.onnx", "decode", graphs.decode)
    return encode, decode


def count_operators(graphs: OnnxGraphs) -> dict[str, int]:
    """ "graph: operator (precision)" → how many; int8 is what works on bytes."""
    counts: Counter[str] = Counter()
    for name, graph in (("encode", graphs.encode), ("decode", graphs.decode)):
        for node in onnx.load_from_string(graph).graph.node:
            counts[f"{name}: {node.op_type} ({'int8' if _is_int8(node.op_type) else 'float'})"] += 1
    return dict(sorted(counts.items()))


def _is_int8(kind: str) -> bool:
    return kind.startswith("QLinear") or kind in {"DynamicQuantizeMatMul", "MatMulIntegerToFloat"}


RUNTIME: Runtime = OnnxRuntime()
