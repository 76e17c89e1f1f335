"""A student to a bundle: graphs exported, verified, and written with their manifest.

The one way from PyTorch to a folder that a device reads, for imported checkpoints and for our own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edgecap._version import __version__
from edgecap.bundle.bundle import Bundle, BundleContent, vocabulary_content, write_bundle
from edgecap.bundle.manifest import (
    FORMAT_VERSION,
    DecoderSpec,
    EncoderInput,
    EncoderSpec,
    Licence,
    Manifest,
    Precision,
    Provenance,
    Search,
    SilenceSpec,
    VocabularySpec,
)
from edgecap.bundle.vocabulary import Vocabulary, check_size
from edgecap.inference.session import open_session
from edgecap.runtimes import RUNTIMES, GraphRole
from edgecap_export.graphs.onnx_export import memory_frames, onnx_encoder, onnx_graphs
from edgecap_export.graphs.verify import TOLERANCES, Difference, verify_session, verify_stream
from edgecap_export.onnx.lowering import apply_recipe, searching_graphs
from edgecap_export.onnx.streaming import with_streaming
from edgecap_export.recipes import FP16, FP32
from edgecap_train.models.encoder import FRAMES_PER_MEMORY
from edgecap_train.models.student import Student

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
    extra: Callable[[bytes], Sequence[BundleContent]] = lambda encode: (),
    half: bool = False,
    search: Search = "in-graph",
) -> Bundle:
    """Export `student` (in eval mode, on the CPU) to the bundle `folder` in fp32 for ONNX Runtime, with the encoder of
    streams where the network can have one.

    `half` stores the graphs' weights in float16; the arithmetic stays float32. `card` is the text of its model card;
    `extra` gives more files, made from the float encoder's graph once all is verified.
    Nothing is written unless the graphs agree with PyTorch.
    Raises ShapeMismatchError, ToleranceError, OutputError, CheckpointError for a vocabulary of another size.
    """
    check_size(vocabulary, student.config.vocabulary_size, name)
    window = window_frames(student, window_seconds)
    recipe = FP16 if half else FP32
    if search == "in-graph":
        encode = onnx_encoder(student, window)
        graphs = searching_graphs(recipe, student, window, encode)
    else:
        floats = onnx_graphs(student, window)
        encode, graphs = floats.encode, apply_recipe(recipe, floats)
    manifest = manifest_of(
        student,
        name=name,
        window=window,
        precision=recipe.precision,
        licence=licence,
        metrics=metrics,
        silence=silence,
        provenance=provenance,
        search=search,
    )
    manifest, contents = with_streaming(manifest, bundle_contents("onnx", graphs.by_role(), vocabulary, card))
    with trial(manifest, contents) as bundle:
        session = open_session(bundle, 1)
        differences = verify_session(student, session, window, TOLERANCES[recipe.precision], steps=search == "outside")
        verify_stream(bundle, session)
    manifest = replace(manifest, provenance=with_details(provenance, difference_details(differences)))
    return write_bundle(folder, manifest, [*contents, *extra(encode)])


@contextmanager
def trial(manifest: Manifest, contents: Sequence[BundleContent]) -> Iterator[Bundle]:
    """The bundle in a temporary folder, to check it before it is written to its place."""
    with TemporaryDirectory(prefix="edgecap-export-") as folder:
        yield write_bundle(Path(folder) / "trial", manifest, contents)


def window_frames(student: Student, seconds: float = WINDOW_SECONDS) -> int:
    """Log-mel frames of a window."""
    front_end = student.config.front_end
    return front_end.frames(round(seconds * front_end.sample_rate))


def manifest_of(
    student: Student,
    *,
    name: str,
    window: int,
    precision: Precision,
    licence: Licence,
    provenance: Provenance,
    metrics: Mapping[str, float] | None = None,
    silence: SilenceSpec | None = None,
    runtime: str = "onnx",
    encoder_input: EncoderInput = "log_mel",
    beams: int = 0,
    search: Search = "outside",
) -> Manifest:
    """The manifest of a student's bundle, its files still to be listed; `beams` and `search` as `DecoderSpec` says."""
    return Manifest(
        format="edgecap-bundle",
        format_version=FORMAT_VERSION,
        name=name,
        runtime=runtime,
        precision=precision,
        front_end=student.config.front_end,
        encoder=replace(_encoder_spec(student, window), input=encoder_input),
        decoder=replace(_decoder_spec(student), beams=beams, search=search),
        vocabulary=VocabularySpec(size=student.config.vocabulary_size),
        silence=silence or SilenceSpec.of_front_end(student.config.front_end),
        files=[],
        licence=licence,
        provenance=provenance,
        metrics=dict(metrics or {}),
    )


def bundle_contents(
    runtime: str, graphs: Mapping[GraphRole, bytes], vocabulary: Vocabulary, card: str | None = None
) -> list[BundleContent]:
    """The files of a bundle: its graphs under the names of their runtime, the vocabulary, the text of a model card."""
    contents = [BundleContent(name, role, graphs[role]) for role, name in RUNTIMES[runtime].graphs.items()]
    contents.append(vocabulary_content(vocabulary))
    return contents if card is None else [*contents, BundleContent("MODEL_CARD.md", "card", card.encode())]


def with_details(provenance: Provenance, details: Mapping[str, str]) -> Provenance:
    """`provenance` with more details, which replace those of the same name."""
    return replace(provenance, details={**provenance.details, **details})


def difference_details(differences: Sequence[Difference]) -> dict[str, str]:
    """Differences from PyTorch as details of a provenance."""
    return {f"largest difference of {item.output}": _rounded_up(item.largest) for item in differences}


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
        layers=config.layers, heads=config.heads, head_dim=config.d_model // config.heads, max_tokens=config.max_tokens
    )


def _rounded_up(value: float) -> str:
    """One digit, so that the last bits of another run do not change the manifest."""
    if value == 0:
        return "0"
    step = 10.0 ** math.floor(np.log10(value))
    return f"{math.ceil(value / step) * step:.0e}"
