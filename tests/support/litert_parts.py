"""A small student as LiteRT bundles, made once for all tests of LiteRT."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgecap.bundle.bundle import Bundle, write_bundle
from edgecap.bundle.manifest import EncoderInput, Licence, Provenance
from edgecap_export.bundle.bundles import common_contents, manifest_of
from edgecap_export.calibration import window_of
from edgecap_export.graphs.onnx_export import onnx_graphs
from edgecap_export.graphs.verify import sounds
from edgecap_export.litert import quantise as litert_quantise
from edgecap_export.litert import runtime as litert_runtime
from edgecap_export.litert.convert import float_program
from edgecap_export.litert.runtime import RUNTIME
from edgecap_export.quantisation.quantise import simplified
from edgecap_export.quantisation.ranges import measure_ranges, weights_digest
from edgecap_export.runtimes import Calibration, Lowered, Precision, Work
from support.small_student import FRONT_END, SIZE, WINDOW, small_student

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
SOUNDS = tuple(sounds(FRONT_END.sample_rate, (WINDOW - 1) * FRONT_END.hop_length / FRONT_END.sample_rate))
WORDS = ("<pad>", "<start>", "<end>", "<unk>", *(f"word{index}" for index in range(4, SIZE)))


@dataclass(frozen=True)
class Made:
    """One export."""

    work: Work
    lowered: Lowered
    bundle: Bundle

    @property
    def program(self) -> bytes:
        """The bytes of the .tflite file."""
        return self.bundle.path("program").read_bytes()


@cache
def converted(encoder_input: EncoderInput) -> bytes:
    """The float32 program, which every precision starts from; converting takes seconds."""
    return float_program(replace(work(), encoder_input=encoder_input))


@cache
def work() -> Work:
    """The small student and what int8 needs of it; its recipe is still to be chosen."""
    student = small_student(1)
    graphs = onnx_graphs(student, WINDOW)
    log_mels = tuple(window_of(sound * np.float32(gain), FRONT_END, WINDOW) for sound in SOUNDS for gain in (1.0, 0.1))
    ranges = measure_ranges(
        simplified(onnx.load_from_string(graphs.encode)),
        log_mels,
        clips=len(log_mels),
        weights=weights_digest(student.state_dict()),
        percentile=99.99,
    )
    return Work(
        student=student,
        window=WINDOW,
        recipe=RUNTIME.recipe("fp32", "yamnet"),
        float_graphs=graphs,
        calibration=Calibration(log_mels, ranges),
    )


def make(folder: Path, precision: Precision, encoder_input: EncoderInput = "log_mel") -> Made:
    """Lower and write one bundle into `folder`."""
    chosen = replace(work(), recipe=RUNTIME.recipe(precision, "yamnet"), encoder_input=encoder_input)
    with pytest.MonkeyPatch.context() as patch:
        for module in (litert_runtime, litert_quantise):
            patch.setattr(module, "float_program", lambda asked: converted(asked.encoder_input))
        lowered = RUNTIME.lower(chosen)
    manifest = manifest_of(
        chosen.student,
        name=f"small-{precision}",
        window=WINDOW,
        precision=precision,
        runtime="litert",
        licence=Licence(name="CC0-1.0"),
        provenance=Provenance(source="random weights", created_by="the tests"),
        encoder_input=encoder_input,
        beams=lowered.beams,
    )
    bundle = write_bundle(folder, manifest, [*lowered.files, *common_contents(WORDS, None)])
    return Made(chosen, lowered, bundle)
