"""A student becomes one LiteRT program that says what PyTorch says, nearly all of it run by XNNPACK."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecap.bundle.manifest import Precision
from edgecap.captioner import Captioner
from edgecap.errors import ToolchainError
from edgecap.inference.session import open_session
from edgecap_export.calibration import window_of
from edgecap_export.graphs.torch_session import TorchSession
from edgecap_export.graphs.verify import TOLERANCES, Tolerances, verify_session
from edgecap_export.litert import convert as litert_convert
from edgecap_export.litert.lowering import INT8
from edgecap_export.litert.program import REDUCED_PRECISION, Program, tensors
from edgecap_export.litert.quantise import (
    CONVOLUTIONS,
    SIGMOID,
    _quantised,
    carried_over,
    check_quantised,
    map_ranges,
    static_operators,
)
from edgecap_export.runtimes import Calibration
from support.exports.exported import PRECISIONS, SOUNDS, Export, converted, request
from support.small_student import FRONT_END, WINDOW


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_program_says_what_pytorch_says(litert: Export, precision: Precision) -> None:
    made = litert(precision)
    session = open_session(made.bundle, 1)
    differences = verify_session(made.request.student, session, WINDOW, TOLERANCES[precision])
    assert {item.output for item in differences} == {"cross_keys", "cross_values", "clip_embedding", "log_probs"}


@pytest.mark.parametrize("kind", ["log_mel", "waveform"])
def test_float32_captions_have_the_tokens_of_pytorch(litert: Export, kind: str) -> None:
    made = litert("fp32", kind)
    bundle = replace(
        made.bundle,
        manifest=replace(made.bundle.manifest, encoder=replace(made.bundle.manifest.encoder, input="log_mel")),
    )
    by_litert, by_torch = Captioner.load(made.bundle.folder), Captioner(bundle, TorchSession(made.request.student))
    for sound in SOUNDS:
        for part in (1.0, 0.4):
            clip = sound[: int(part * sound.size)]
            for beams in (1, 2, 3):
                one, other = (captioner.caption(clip, 16_000, beam=beams) for captioner in (by_litert, by_torch))
                assert [beam.tokens for beam in one.beams] == [beam.tokens for beam in other.beams]
                assert one.score == pytest.approx(other.score, abs=1e-4)


def test_one_program_with_the_front_end_inside_says_what_pytorch_says(litert: Export) -> None:
    made = litert("fp32", "waveform")
    verify_session(made.request.student, open_session(made.bundle, 1), WINDOW, Tolerances(), waveform=True)


def test_a_front_end_inside_stays_in_float_whatever_the_precision(litert: Export) -> None:
    for precision in ("fp16", "int8"):
        made = litert(precision, "waveform")
        program = Program(made.program)
        operators = program.operators["encode"]
        first = next(operator.index for operator in operators if operator.kind in CONVOLUTIONS)
        products = [operator for operator in operators[:first] if operator.kind == "BATCH_MATMUL"]
        assert len(products) == 3  # the steps of the Fourier transform and the mel bands
        assert not any(operator.int8 for operator in products)
        widened = {out for operator in operators if operator.kind == "DEQUANTIZE" for out in operator.outputs}
        assert not any(widened & set(operator.inputs) for operator in products)
        assert REDUCED_PRECISION.encode() not in made.program
        verify_session(made.request.student, open_session(made.bundle, 1), WINDOW, TOLERANCES[precision], waveform=True)


def test_half_the_bytes_and_a_quarter_of_them(litert: Export) -> None:
    weights = sum(parameter.numel() for parameter in request().student.parameters()) * 4
    sizes = {precision: len(litert(precision).program) for precision in PRECISIONS}
    # a small student's names and shapes weigh more than its weights, so only what is saved says something
    assert sizes["fp32"] - sizes["fp16"] > 0.3 * weights
    assert sizes["fp32"] - sizes["int8"] > 0.45 * weights


def test_float16_arithmetic_is_allowed_where_weights_are_float16_and_nowhere_else(litert: Export) -> None:
    allowed = {precision: REDUCED_PRECISION.encode() in litert(precision).program for precision in PRECISIONS}
    assert allowed == {"fp32": False, "fp16": True, "int8": False}


def test_nearly_all_operators_are_run_by_xnnpack_and_the_rest_is_named(litert: Export) -> None:
    for precision in PRECISIONS:
        lowered = litert(precision).lowered
        assert lowered.delegated is not None
        assert lowered.delegated > 0.85
        total = sum(lowered.operators.values())
        assert lowered.delegated == pytest.approx(1 - sum(lowered.not_delegated.values()) / total)
        left = {name.split(": ")[1] for name in lowered.not_delegated}
        assert left
        assert not left & {*CONVOLUTIONS, "FULLY_CONNECTED", "BATCH_MATMUL", "LOGISTIC", "SOFTMAX", "MUL"}


def test_int8_keeps_maps_in_bytes_from_the_first_convolution_to_the_last(litert: Export) -> None:
    made = litert("int8")
    operators = Program(made.program).operators["encode"]
    convolutions = [operator for operator in operators if operator.kind in CONVOLUTIONS]
    assert all(operator.int8 for operator in convolutions)
    inside = operators[convolutions[0].index : convolutions[-1].index + 1]
    assert not any(operator.kind in {"QUANTIZE", "DEQUANTIZE"} for operator in inside)
    assert all(
        operator.int8
        for graph in Program(made.program).operators.values()
        for operator in graph
        if operator.kind == "FULLY_CONNECTED"
    )
    assert made.lowered.operators["decode: FULLY_CONNECTED (int8)"] > 8
    assert made.lowered.stays_float
    assert all(reason for reason in made.lowered.stays_float.values())
    assert not any("CONV" in name for name in made.lowered.stays_float)


def test_a_recipe_says_which_operators_stay_in_float() -> None:
    program = Program(converted("log_mel"))
    everything = static_operators(program, INT8)
    assert len({operator.kind for operator in everything} & {*CONVOLUTIONS, "LOGISTIC", "MUL", "MEAN"}) == 5
    some = static_operators(program, replace(INT8, convolutions=("pointwise",), maps=False))
    assert {operator.kind for operator in some} == {"CONV_2D"}
    assert len(static_operators(program, replace(INT8, float_first=2))) < len(everything)
    kept = static_operators(program, replace(INT8, keep=(everything[0].scope,)))
    assert [operator.scope for operator in kept] == [operator.scope for operator in everything[1:]]


def test_stored_ranges_are_found_by_value_although_names_and_layouts_differ() -> None:
    chosen = replace(request(), recipe=INT8)
    stored = chosen.calibration.ranges
    assert stored is not None
    # ranges that no measuring gives: whoever shows one has taken what was stored
    marked = {name: (3.0 * low - 0.5, 3.0 * high + 0.25) for name, (low, high) in stored.spans.items()}
    spans = set(marked.values())
    ranges = map_ranges(
        converted("log_mel"),
        replace(chosen, calibration=Calibration(chosen.calibration.log_mels, replace(stored, spans=marked))),
    )
    for operator in Program(converted("log_mel")).operators["encode"]:
        if operator.kind in CONVOLUTIONS and operator.shape[1] > 1:
            assert ranges[operator.scope] in spans, operator.scope
        if operator.kind == "LOGISTIC":
            assert ranges[operator.scope] == SIGMOID


def test_without_stored_ranges_they_are_measured() -> None:
    chosen = replace(request(), recipe=INT8)
    log_mels = chosen.calibration.log_mels[:2]
    ranges = map_ranges(converted("log_mel"), replace(chosen, calibration=Calibration(log_mels)))
    first = next(node for node in Program(converted("log_mel")).operators["encode"] if node.kind in CONVOLUTIONS)
    seen = [
        tensors(converted("log_mel"), {"log_mel": log_mel, "memory_length": np.array([1], np.int32)})[first.scope]
        for log_mel in log_mels
    ]
    assert ranges[first.scope][1] == pytest.approx(max(array.max() for array in seen))
    with pytest.raises(ValueError, match="needs sounds"):
        map_ranges(converted("log_mel"), replace(chosen, calibration=Calibration(())))


def test_ranges_are_not_carried_over_to_another_encoder() -> None:
    program = Program(converted("log_mel"))
    other = Program(converted("log_mel"))
    other.operators["encode"] = other.operators["encode"][:-1]
    with pytest.raises(ToolchainError, match="converts this encoder differently"):
        carried_over({}, program, other)


def test_constants_lie_where_every_interpreter_finds_them(litert: Export) -> None:
    import ai_edge_litert.schema_py_generated as schema

    for precision in PRECISIONS:
        content = litert(precision).program
        model = schema.Model.GetRootAs(content, 0)
        places = [model.Buffers(index) for index in range(model.BuffersLength())]
        assert all(buffer.Offset() <= 1 for buffer in places)
        for buffer in places:
            if buffer.DataLength():
                address = buffer.DataAsNumpy().__array_interface__["data"][0]
                start = address - np.frombuffer(content, np.uint8).__array_interface__["data"][0]
                assert start % 16 == 0


def test_no_trace_of_the_machine_is_in_a_program(litert: Export) -> None:
    for precision in PRECISIONS:
        content = litert(precision).program
        for trace in (str(Path(__file__).parents[3]), str(Path.home()), "site-packages"):
            assert trace.encode() not in content


def test_nothing_is_printed(litert: Export, capfd: pytest.CaptureFixture[str]) -> None:
    made = litert("fp32")
    open_session(made.bundle, 1).encode(window_of(SOUNDS[0], FRONT_END, WINDOW)[0], 3)
    assert capfd.readouterr() == ("", "")


def test_a_model_that_the_converter_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no lowering for aten.wild\nand a long list")

    import litert_torch

    monkeypatch.setattr(litert_torch, "signature", refuse)
    with pytest.raises(ToolchainError, match=r"does not convert this model \(no lowering for aten.wild\)") as caught:
        litert_convert.float_program(request())
    assert "\n" not in str(caught.value)


def test_a_program_that_the_quantiser_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_edge_quantizer import quantizer

    def refuse(*_: object) -> None:
        raise RuntimeError("no rule for WILD\nand a long story")

    monkeypatch.setattr(quantizer, "Quantizer", refuse)
    with pytest.raises(ToolchainError, match=r"does not quantise this model \(no rule for WILD\)") as caught:
        _quantised(b"", [], {})
    assert "\n" not in str(caught.value)


def test_an_operator_that_the_quantiser_leaves_in_float_ends_the_export(exported: Export) -> None:
    program = Program(exported("litert", "fp32").program)
    convolutions = [each for each in program.operators["encode"] if each.kind in CONVOLUTIONS]
    with pytest.raises(ToolchainError, match=r"left \d+ (DEPTHWISE_)?CONV_2D of encode in float"):
        check_quantised(convolutions, program, INT8)
    check_quantised(convolutions[1:], Program(exported("litert", "int8").program), INT8)
