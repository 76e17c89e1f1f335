"""A student to a bundle: graphs exported, verified, and written with their manifest.

The one way from PyTorch to a folder that a device reads, for imported checkpoints and for our own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgecap._version import __version__
from edgecap.bundle import Bundle, BundleContent, vocabulary_content, write_bundle
from edgecap.manifest import (
    FORMAT_VERSION,
    DecoderSpec,
    EncoderSpec,
    Licence,
    Manifest,
    Provenance,
    SilenceSpec,
    VocabularySpec,
)
from edgecap_export.graphs import memory_frames, onnx_graphs
from edgecap_export.verify import verify_onnx
from edgecap_train.student import FRAMES_PER_MEMORY, Student
from edgecap_train.vocabulary import Vocabulary, check_size

WINDOW_SECONDS = 10.0
"""Length of the published students' training clips."""


def export_bundle(
    student: Student,
    vocabulary: Vocabulary,
    folder: Path,
    *,
    name: str,
    licence: Licence,
    provenance: Provenance,
    metrics: Mapping[str, float] | None = None,
    silence: SilenceSpec | None = None,
    window_seconds: float = WINDOW_SECONDS,
    card: str | None = None,
) -> Bundle:
    """Export `student` (in eval mode, on the CPU) to the bundle `folder` in fp32 for ONNX Runtime.

    `card` is the text of its model card. Nothing is written unless the graphs do what PyTorch does.
    Raises ShapeMismatchError, ToleranceError, OutputError, CheckpointError for a vocabulary of another size.
    """
    check_size(vocabulary, student.config.vocabulary_size, name)
    front_end = student.config.front_end
    window = front_end.frames(round(window_seconds * front_end.sample_rate))
    graphs = onnx_graphs(student, window)
    differences = verify_onnx(student, graphs, window)
    details = {f"largest difference of {found.output}": _rounded_up(found.largest) for found in differences}
    manifest = Manifest(
        format="edgecap-bundle",
        format_version=FORMAT_VERSION,
        name=name,
        runtime="onnx",
        precision="fp32",
        front_end=front_end,
        encoder=_encoder_spec(student, window),
        decoder=_decoder_spec(student),
        vocabulary=VocabularySpec(size=len(vocabulary)),
        silence=silence or SilenceSpec(),
        files=[],
        licence=licence,
        provenance=Provenance(
            source=provenance.source, sha256=provenance.sha256, created_by=provenance.created_by,
            details={**provenance.details, **details},
        ),
        metrics=dict(metrics or {}),
    )  # fmt: skip
    contents = [
        BundleContent("encode.onnx", "encode", graphs.encode),
        BundleContent("decode.onnx", "decode", graphs.decode),
        vocabulary_content(vocabulary),
    ]
    if card is not None:
        contents.append(BundleContent("MODEL_CARD.md", "card", card.encode()))
    return write_bundle(folder, manifest, contents)


def created_by() -> str:
    """The program that writes a bundle, for its provenance."""
    return f"edgecap {__version__}"


def _encoder_spec(student: Student, window: int) -> EncoderSpec:
    return EncoderSpec(
        architecture=student.config.encoder,
        window_frames=window,
        frames_per_memory=FRAMES_PER_MEMORY,
        memory_frames=memory_frames(student, window),
        embedding_dim=student.dim,
    )


def _decoder_spec(student: Student) -> DecoderSpec:
    config = student.config
    return DecoderSpec(
        layers=config.layers,
        heads=config.heads,
        head_dim=config.d_model // config.heads,
        max_tokens=config.max_tokens,
    )


def _rounded_up(value: float) -> str:
    """One digit, so that another run's last bits do not change the manifest."""
    if value == 0:
        return "0"
    step = 10.0 ** math.floor(np.log10(value))
    return f"{math.ceil(value / step) * step:.0e}"
