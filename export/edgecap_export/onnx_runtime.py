"""ONNX Runtime's lowering: the float graphs by a recipe. See `edgecap_export.runtimes` for the contract."""

from __future__ import annotations

from collections import Counter

import onnx

from edgecap.bundle import BundleContent
from edgecap_export.apply import apply_recipe
from edgecap_export.graphs import OnnxGraphs
from edgecap_export.quantise import plan, simplified
from edgecap_export.recipes import Recipe, recipe_for
from edgecap_export.runtimes import Lowered, Precision, Runtime, Work


class OnnxRuntime:
    """Two `.onnx` files, for any number of beams."""

    def recipe(self, precision: Precision, architecture: str) -> Recipe:
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
            stays = plan(simplified(onnx.load_from_string(work.float_graphs.encode)), recipe).stays
        graphs = apply_recipe(recipe, work.float_graphs, ranges)
        return Lowered(files=graph_files(graphs), operators=count_operators(graphs), stays_float=stays)


def graph_files(graphs: OnnxGraphs) -> tuple[BundleContent, ...]:
    """The two files of a bundle for ONNX Runtime."""
    encode = BundleContent("encode.onnx", "encode", graphs.encode)
    decode = BundleContent("decode.onnx", "decode", graphs.decode)
    return encode, decode


def count_operators(graphs: OnnxGraphs) -> dict[str, int]:
    """"graph: operator (precision)" → how many; int8 is what works on bytes."""
    counts: Counter[str] = Counter()
    for name, graph in (("encode", graphs.encode), ("decode", graphs.decode)):
        for node in onnx.load_from_string(graph).graph.node:
            counts[f"{name}: {node.op_type} ({'int8' if _is_int8(node.op_type) else 'float'})"] += 1
    return dict(sorted(counts.items()))


def _is_int8(kind: str) -> bool:
    return kind.startswith("QLinear") or kind in {"DynamicQuantizeMatMul", "MatMulIntegerToFloat"}


RUNTIME: Runtime = OnnxRuntime()
