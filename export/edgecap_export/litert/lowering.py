"""LiteRT's lowering: one `.tflite` with the signatures `encode` and `decode`, for three beams.

The choices were measured on x86-64 with AVX-512 VNNI in ai-edge-litert 2.3 (XNNPACK), one thread.
"""

from __future__ import annotations

from collections import Counter

from edgecap.bundle.manifest import Precision
from edgecap_export.graphs.onnx_export import EXPORT_BEAMS
from edgecap_export.litert.convert import float_program
from edgecap_export.litert.program import Program, finished
from edgecap_export.litert.quantise import halved, int8, stays_float
from edgecap_export.litert.search import inside
from edgecap_export.recipes import FP32, ExportRecipe
from edgecap_export.runtimes import Lowered, LoweringRequest

FP16 = ExportRecipe(
    name="litert-fp16-weights-and-arithmetic", precision="fp16", half_weights=True, half_arithmetic=True
)
# yamnet's encoder: 7.7 ms in float32, 3.0 in this. EfficientNet-B2's: 17.2 in float32, 7.5 in this; 10.5 with swish
# and squeeze-excite in float, 9.4 with the first fifth of the operators in float.
INT8 = ExportRecipe(
    name="litert-int8-static-maps-dynamic-products",
    precision="int8",
    convolutions=("plain", "pointwise", "depthwise"),
    maps=True,
    products=True,
)
RECIPES: dict[Precision, ExportRecipe] = {"fp32": FP32, "fp16": FP16, "int8": INT8}


class LiteRtLowering:
    """One program for three beams."""

    def recipe(self, precision: Precision, architecture: str) -> ExportRecipe:
        """The best measured recipe of a precision, the same for all encoders."""
        return RECIPES[precision]

    def lower(self, request: LoweringRequest) -> Lowered:
        """Convert, quantise and pack both graphs. Raises ToolchainError where a tool refuses them."""
        recipe = request.recipe
        content = float_program(request)
        if recipe.precision == "int8":
            content = int8(content, request)
        elif recipe.half_weights:
            content = halved(content)
        if request.search == "in-graph":
            content = inside(content, request.student)
        # a front end in float16 would not be the one that the model was trained with
        half = recipe.half_arithmetic and request.encoder_input == "log_mel"
        content = finished(content, half_arithmetic=half)
        program = Program(content)
        total = sum(len(operators) for operators in program.operators.values())
        return Lowered(
            graphs={"program": content},
            operators=program.counts(),
            not_delegated=dict(sorted(Counter(f"{left.graph}: {left.kind}" for left in program.left).items())),
            delegated=1 - len(program.left) / total,
            stays_float=stays_float(program, recipe) if recipe.precision == "int8" else {},
            beams=EXPORT_BEAMS,
        )
