"""A float LiteRT program by a recipe: weights as float16, or the encoder in static and the products in dynamic int8.

ai-edge-quantizer changes the program; which operators it may touch, and the ranges of their maps, are decided here.
XNNPACK's int8 kernels want weights per channel and symmetric, maps per tensor; that is what the quantiser makes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import ToolchainError
from edgecap_export.litert.convert import float_program, quiet, refused
from edgecap_export.litert.program import WEIGHTS, Operator, Program, tensors
from edgecap_export.quantisation.onnx_graph import encoder_runner
from edgecap_export.quantisation.quantise import Range, simplified
from edgecap_export.quantisation.ranges import measurable
from edgecap_export.recipes import ConvKind, ExportRecipe
from edgecap_export.runtimes import LoweringRequest

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
JOINTS = ("LOGISTIC", "MUL", "ADD", "MEAN", "PAD", "RESHAPE")
"""What may lie between convolutions: XNNPACK has all of it for bytes."""
PRODUCTS = ("FULLY_CONNECTED", "EMBEDDING_LOOKUP")
MEASURED_SOUNDS = 6
"""Sounds that the ranges of maps without a stored range are measured on."""
SIGMOID: Range = (0.0, 255.0 / 256.0)
"""Range of a sigmoid in steps of 1/256, the kernels' fixed output scale."""
ALIKE = 1e-3
"""Two tensors are the same if their extremes, mean and mean square differ by less, in parts of the largest value."""
WHY_FLOAT = {
    "BATCH_MATMUL": "both factors of an attention product are made at run time and are small",
    "SOFTMAX": "probabilities of the attention: eight bits are too few",
    "EXP": "log-probabilities are what the search adds up",
    "LOG": "log-probabilities are what the search adds up",
    "SQUARED_DIFFERENCE": "a norm's variance: its squares span more than eight bits",
    "RSQRT": "a norm's variance: its squares span more than eight bits",
}


def halved(content: bytes) -> bytes:
    """The program with the weights of convolutions and products in float16; those of a front end stay."""
    rules = [_rule(operator, "float_casting", 16, activations=False) for operator in _weighted(Program(content))]
    return _quantised(content, rules, {})


def int8(content: bytes, request: LoweringRequest) -> bytes:
    """The program by an int8 recipe.

    Raises ValueError where nothing was calibrated on, ToolchainError where the quantiser leaves in float what
    the recipe wants in int8: it passes over a rule that it cannot apply.
    """
    recipe, program = request.recipe, Program(content)
    static = static_operators(program, recipe)
    rules = [_rule(operator, "min_max_uniform_quantize", 8, activations=True) for operator in static]
    products = [operator for operator in _weighted(program) if operator.kind in PRODUCTS] if recipe.products else []
    rules += [_rule(operator, "min_max_uniform_quantize", 8, activations=False) for operator in products]
    result = _quantised(content, rules, _ranges(content, request) if static else {})
    check_quantised(
        [operator for operator in (*static, *products) if operator.kind in WEIGHTS], Program(result), recipe
    )
    return result


def check_quantised(wanted: Sequence[Operator], program: Program, recipe: ExportRecipe) -> None:
    """Raise ToolchainError unless the program has as many operators in int8 of each kind as were wanted."""
    done = Counter((each.graph, each.kind) for graph in program.operators.values() for each in graph if each.int8)
    for (graph, kind), number in (Counter((each.graph, each.kind) for each in wanted) - done).items():
        raise ToolchainError(
            f"ai-edge-quantizer left {number} {kind} of {graph} in float, which the recipe {recipe.name} wants in "
            "int8; name them in the recipe's keep, or export another precision"
        )


def static_operators(program: Program, recipe: ExportRecipe) -> list[Operator]:
    """The operators of the encoder that a recipe puts into static int8."""
    operators = program.operators["encode"]
    places = [operator.index for operator in operators if operator.kind in CONVOLUTIONS]
    chosen, seen = [], 0
    for operator in operators:
        if operator.kind in CONVOLUTIONS:
            seen += 1
            wanted = conv_kind(program, operator) in recipe.convolutions and seen > recipe.float_first
        else:
            wanted = (
                recipe.maps
                and operator.kind in JOINTS
                and len(operator.shape) == 4
                and (recipe.float_first < seen and places[0] < operator.index <= _last(operators, places[-1]))
            )
        if wanted and operator.scope not in recipe.keep:
            chosen.append(operator)
    return chosen


def conv_kind(program: Program, operator: Operator) -> ConvKind:
    """What a convolution is called in a recipe."""
    if operator.kind == "CONV_2D":
        return "pointwise"
    first = next(other for other in program.operators["encode"] if other.kind in CONVOLUTIONS)
    # a plain convolution over one channel is lowered to a depthwise one that makes many of it
    return "plain" if operator == first else "depthwise"


def stays_float(program: Program, recipe: ExportRecipe) -> dict[str, str]:
    """Operators of an int8 program that calculate in float, and why."""
    reasons = {}
    for name, operators in program.operators.items():
        for operator in operators:
            place = f"{name} {operator.index}: {operator.kind}"
            if operator.int8 or operator.kind in {"QUANTIZE", "DEQUANTIZE"}:
                continue
            if operator.scope in recipe.keep:
                reasons[place] = "the recipe keeps it"
            elif operator.kind in CONVOLUTIONS:
                reasons[place] = "the recipe leaves its kind or its place in float"
            elif operator.kind in WEIGHTS:
                reasons[place] = "the front end is always in float"
            elif operator.kind in WHY_FLOAT:
                reasons[place] = WHY_FLOAT[operator.kind]
    return reasons


def _ranges(content: bytes, request: LoweringRequest) -> dict[str, Range]:
    """`map_ranges` of a program; one that takes a waveform has them from its twin that takes a log-mel."""
    if request.encoder_input == "log_mel":
        return map_ranges(content, request)
    twin = float_program(replace(request, encoder_input="log_mel"))
    return carried_over(map_ranges(twin, request), Program(twin), Program(content))


def carried_over(ranges: Mapping[str, Range], twin: Program, program: Program) -> dict[str, Range]:
    """Ranges by name of one program as those of another whose "encode" is the same from its first convolution on.

    Raises ToolchainError where it is not.
    """
    one, other = (_from_first_convolution(each) for each in (twin, program))
    if [operator.kind for operator in one] != [operator.kind for operator in other]:
        raise ToolchainError(
            "litert-torch converts this encoder differently behind a front end; export with "
            "--front-end outside, or in --fp32"
        )
    pairs = [(a.scope, b.scope) for a, b in zip(one, other, strict=True)]
    pairs.append((twin.names["encode"][one[0].inputs[0]], program.names["encode"][other[0].inputs[0]]))
    return {theirs: ranges[ours] for ours, theirs in pairs if ours in ranges}


def map_ranges(content: bytes, request: LoweringRequest) -> dict[str, Range]:
    """The range of every float tensor of "encode" by name.

    Ranges are stored for the tensors of the ONNX graph. Both graphs calculate the same, so a tensor here is found
    among those by its values on one sound, whatever the layout; its stored range is then taken. Padded copies have
    the range of what they pad, a sigmoid has its own, and the rest (gates of a few values) is measured.
    """
    if not request.calibration.log_mels:
        raise ValueError(f"the recipe {request.recipe.name} needs sounds to calibrate on")
    measured = _measured(content, request)
    stored = _stored(request)
    ranges: dict[str, Range] = {}
    makers = {operator.scope: operator for operator in Program(content).operators["encode"]}
    for name, (span, marks) in measured.items():
        kind = makers[name].kind if name in makers else ""
        same = [span_there for other, span_there in stored if _alike(marks, other)]
        if kind == "LOGISTIC":
            ranges[name] = SIGMOID
        elif same:
            ranges[name] = same[0]
        else:
            ranges[name] = min(span[0], 0.0), max(span[1], 0.0)
    _inherit(content, ranges)
    return ranges


Marks = NDArray[np.float64]
"""Lowest, highest, mean and mean square of a tensor."""


def _measured(content: bytes, request: LoweringRequest) -> dict[str, tuple[Range, Marks]]:
    """Float tensor of "encode" → its extremes over some sounds, and its marks on the first."""
    measured: dict[str, tuple[Range, Marks]] = {}
    chosen = np.linspace(0, len(request.calibration.log_mels) - 1, MEASURED_SOUNDS).astype(int)
    for log_mel in (request.calibration.log_mels[index] for index in dict.fromkeys(map(int, [0, *chosen]))):
        for name, array in tensors(content, {"log_mel": log_mel, "memory_length": np.array([1], np.int32)}).items():
            if array.size == 0:
                continue
            marks = _marks(array)
            (low, high), first = measured.get(name, ((np.inf, -np.inf), marks))
            measured[name] = (min(low, float(marks[0])), max(high, float(marks[1]))), first
    return measured


def _stored(request: LoweringRequest) -> list[tuple[Marks, Range]]:
    """Marks on the first sound → stored range, for each tensor of the ONNX graph."""
    import onnx

    if request.calibration.ranges is None:
        return []
    ranges = request.calibration.ranges.of(request.recipe)
    model = simplified(onnx.load_from_string(request.float_graphs.encode))
    names = [name for name in measurable(model) if name in ranges]
    values = encoder_runner(model, names)(request.calibration.log_mels[0])
    return [(_marks(values[name]), ranges[name]) for name in names]


def _marks(array: NDArray[Any]) -> Marks:
    values = array.astype(np.float64, copy=False)
    return np.array([values.min(), values.max(), values.mean(), np.square(values).mean()])


def _alike(one: Marks, other: Marks) -> bool:
    largest = max(abs(other[0]), abs(other[1]), 1e-9)
    scale = np.array([largest, largest, largest, largest**2])
    return bool(np.all(np.abs(one - other) <= ALIKE * scale))


def _inherit(content: bytes, ranges: dict[str, Range]) -> None:
    """Give what is only moved or padded the range of what it comes from, with the zero that padding adds."""
    names: dict[int, str] = {}
    for operator in Program(content).operators["encode"]:
        source = names.get(operator.inputs[0]) if operator.inputs else None
        if operator.kind in {"PAD", "RESHAPE"} and source in ranges and operator.scope in ranges:
            low, high = ranges[source]
            ranges[operator.scope] = (min(low, 0.0), max(high, 0.0))
        names.update(dict.fromkeys(operator.outputs, operator.scope))


def _weighted(program: Program) -> list[Operator]:
    """Operators with weights, those of a front end in the graph left out."""
    return [
        operator
        for operator in (*_from_first_convolution(program), *program.operators["decode"])
        if operator.kind in WEIGHTS
    ]


def _from_first_convolution(program: Program) -> tuple[Operator, ...]:
    """The operators of "encode" without a front end and without what brings a log-mel into shape."""
    operators = program.operators["encode"]
    first = next(operator.index for operator in operators if operator.kind in CONVOLUTIONS)
    return operators[first:]


def _last(operators: tuple[Operator, ...], convolution: int) -> int:
    """The last operator of the activation that follows a convolution."""
    last = convolution
    while operators[last + 1].kind in {"LOGISTIC", "MUL"}:
        last += 1
    return last


def _rule(operator: Operator, algorithm: str, bits: int, *, activations: bool) -> dict[str, Any]:
    """The quantiser's rule for one operator, which it knows by the name of its output."""
    weights = {"num_bits": bits, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT"}
    half = algorithm == "float_casting"
    if half:
        weights |= {"granularity": "TENSORWISE", "dtype": "FLOAT"}
    config: dict[str, Any] = {
        "weight_tensor_config": weights,
        "compute_precision": "FLOAT" if half else "INTEGER",
        "explicit_dequantize": half,
        "skip_checks": False,
        "min_weight_elements": 0,
    }
    if activations:
        config["activation_tensor_config"] = {
            "num_bits": bits,
            "symmetric": False,
            "granularity": "TENSORWISE",
            "dtype": "INT",
        }
    return {
        "regex": f"^{re.escape(operator.scope)};?$",
        "operation": operator.kind,
        "algorithm_key": algorithm,
        "op_config": config,
    }


def _quantised(content: bytes, rules: list[dict[str, Any]], ranges: Mapping[str, Range]) -> bytes:
    """The program by the quantiser's rules. Raises ToolchainError where it refuses them."""
    with quiet():
        from ai_edge_quantizer.quantizer import Quantizer

        known = {
            name: {"min": np.array([low], np.float32), "max": np.array([high], np.float32)}
            for name, (low, high) in ranges.items()
        }
        try:
            worker = Quantizer(bytearray(content), rules)
            result = worker.quantize(known or None, enable_progress_bar=False, enable_progress_report=False)
        except Exception as error:  # the quantiser's own exceptions share no base class
            raise refused("ai-edge-quantizer does not quantise", error) from error
        return bytes(result.quantized_model)
