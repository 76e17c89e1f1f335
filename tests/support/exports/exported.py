"""The small student exported: what a lowering needs, and a bundle for each runtime, precision and input, each made once
in a run of the tests (fixture `exported`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edgecap.bundle.bundle import Bundle, write_bundle
from edgecap.bundle.manifest import EncoderInput, Licence, Precision, Provenance, Search
from edgecap_export.bundle.bundles import bundle_contents, manifest_of
from edgecap_export.calibration import CalibrationSet, window_of
from edgecap_export.graphs.onnx_export import onnx_graphs
from edgecap_export.graphs.verify import sounds
from edgecap_export.litert import lowering as litert_lowering
from edgecap_export.litert import quantise as litert_quantise
from edgecap_export.litert.convert import float_program
from edgecap_export.quantisation.ranges import student_ranges
from edgecap_export.recipes import FP32
from edgecap_export.runtimes import Calibration, Lowered, LoweringRequest, open_lowering
from support.parallel.untraced import untraced
from support.small_student import FRONT_END, SIZE, WINDOW, small_student

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
SOUNDS = tuple(sounds(FRONT_END.sample_rate, (WINDOW - 1) * FRONT_END.hop_length / FRONT_END.sample_rate))
WORDS = ("<pad>", "<start>", "<end>", "<unk>", *(f"word{index}" for index in range(4, SIZE)))


@dataclass(frozen=True)
class Exported:
    """One export."""

    request: LoweringRequest
    lowered: Lowered
    bundle: Bundle

    @property
    def program(self) -> bytes:
        """The bytes of a program that holds both graphs."""
        return self.bundle.path("program").read_bytes()


Export = Callable[..., Exported]
"""The fixture `exported`: (runtime, precision, encoder input or "log_mel", search or "outside") → the export."""


@cache
def request() -> LoweringRequest:
    """The small student in float32 and what int8 needs of it."""
    student = small_student(1)
    graphs = onnx_graphs(student, WINDOW)
    log_mels = tuple(window_of(sound * np.float32(gain), FRONT_END, WINDOW) for sound in SOUNDS for gain in (1.0, 0.1))
    ranges = student_ranges(student, graphs.encode, CalibrationSet(log_mels, len(log_mels), ()))
    return LoweringRequest(
        student=student, window=WINDOW, recipe=FP32, float_graphs=graphs, calibration=Calibration(log_mels, ranges)
    )


@cache
def converted(encoder_input: EncoderInput, search: Search = "outside") -> bytes:
    """The float32 LiteRT program, which every precision starts from; converting takes seconds."""
    return float_program(replace(request(), encoder_input=encoder_input, search=search))


def export(
    folder: Path,
    runtime: str,
    precision: Precision,
    encoder_input: EncoderInput = "log_mel",
    search: Search = "outside",
) -> Exported:
    """Lower the small student and write its bundle to `folder`."""
    lowering = open_lowering(runtime)
    recipe = lowering.recipe(precision, "yamnet")
    with untraced(), pytest.MonkeyPatch.context() as patch:
        chosen = replace(request(), recipe=recipe, encoder_input=encoder_input, search=search)
        for module in (litert_lowering, litert_quantise):
            patch.setattr(module, "float_program", lambda wanted: converted(wanted.encoder_input, wanted.search))
        lowered = lowering.lower(chosen)
    return Exported(chosen, lowered, write_small_bundle(folder, chosen, lowered, runtime))


def write_small_bundle(folder: Path, wanted: LoweringRequest, lowered: Lowered, runtime: str) -> Bundle:
    """The bundle of what a lowering made of the small student."""
    manifest = manifest_of(
        wanted.student,
        name=f"small-{wanted.recipe.precision}",
        window=wanted.window,
        precision=wanted.recipe.precision,
        runtime=runtime,
        licence=Licence(name="CC0-1.0"),
        provenance=Provenance(source="random weights", created_by="the tests"),
        encoder_input=wanted.encoder_input,
        beams=lowered.beams,
        search=wanted.search,
    )
    return write_bundle(folder, manifest, bundle_contents(runtime, lowered.graphs, WORDS))
