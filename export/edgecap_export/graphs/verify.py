"""Exported bundles against PyTorch: the same inputs into both, every output compared.

Knows how a caption is made, not which runtime makes it: an `InferenceSession` does.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgecap.audio.frontend import log_mel
from edgecap.bundle.bundle import Bundle
from edgecap.bundle.manifest import Precision
from edgecap.captioner import Captioner
from edgecap.errors import ShapeMismatchError, ToleranceError, VerificationError
from edgecap.inference.decoding import DecodeStep, Hypothesis
from edgecap.inference.session import InferenceSession
from edgecap.inference.streaming import StreamEncoder
from edgecap.types import Waveform
from edgecap_export.graphs.onnx_export import ENCODE_OUTPUTS
from edgecap_export.graphs.torch_session import TorchSession
from edgecap_train.models.search import SPECIALS
from edgecap_train.models.student import Student

LENGTHS = (1.0, 0.63, 0.2)
"""Parts of the window that the clips fill; what is left is the front end's silence."""
BEAMS = (3, 1)
STEPS = 8
ROUNDING = 100.0
"""Untrained weights, or silence that the weights were not trained on, can amplify the last bit a thousandfold. So an
output may also differ by this many times the difference between PyTorch's own float32 and float64; ONNX Runtime's
approximate sigmoid has needed 20."""


PIECES = 7
"""Pieces in which a window comes to the graph `stream`."""
STREAM_TOLERANCE = 1e-2
"""Of the largest value: a float whose last bit differs may be rounded to another byte."""


@dataclass(frozen=True)
class Tolerances:
    """The largest accepted difference of each output, relative to the largest magnitude of PyTorch's own.

    fp32 graphs of trained weights differ by less than 2e-5.
    """

    encode: float = 2e-4
    decode: float = 2e-4


TOLERANCES: dict[Precision, Tolerances] = {
    "fp32": Tolerances(),
    "fp16": Tolerances(encode=2e-2, decode=2e-2),
    "int8": Tolerances(encode=0.8, decode=0.3),
}
"""In int8 the trained tiny model's cross values differ by 0.55 at the worst place on the generated sounds of `sounds`
(0.13 root mean square on recordings), its decoder by 0.024; an output that is dead differs by 1. So these catch broken
graphs and ranges; whether captions are still right, --verify measures."""


@dataclass(frozen=True)
class Difference:
    """The largest difference of one output from PyTorch's."""

    output: str
    largest: float
    """Relative to the largest magnitude."""


def verify_session(
    student: Student,
    session: InferenceSession,
    window_frames: int,
    tolerances: Tolerances,
    *,
    waveform: bool = False,
    steps: bool = True,
) -> tuple[Difference, ...]:
    """Compare a loaded bundle with the student in PyTorch, over clips, lengths, beams and steps.

    `waveform`: the session's encoder takes samples. Caches are passed from step to step and change rows as in a
    search, so that a growing difference or mixed-up rows show in the log-probabilities. Without `steps` the session
    gives captions alone, and their scores are compared with PyTorch's for the same words.
    Raises ShapeMismatchError or ToleranceError naming the output, VerificationError for weights that give NaN.
    """
    largest: dict[str, float] = {}

    def compare(name: str, outputs: Sequence[NDArray[Any]], tolerance: float) -> None:
        largest[name] = max(largest.get(name, 0.0), _difference(name, *outputs, tolerance=tolerance))

    double, plain = TorchSession(copy.deepcopy(student).double()), TorchSession(student)
    for samples, log_mels, length in _clips(student, window_frames):
        exact, single = double.encode(log_mels, length), plain.encode(log_mels, length)
        given = session.encode(samples if waveform else log_mels, length)
        for name in ENCODE_OUTPUTS:
            compare(name, [getattr(encoded, name) for encoded in (exact, single, given)], tolerances.encode)
        for beams in BEAMS:
            if steps:
                decoders = [decoder.decoder(single, beams) for decoder in (double, plain, session)]
                for log_probs in _decoding(decoders, beams, student.config.max_tokens):
                    compare("log_probs", log_probs, tolerances.decode)
                continue
            captions = session.search(single, beams)
            scores = [_scores(reference.decoder(single, len(captions)), captions) for reference in (double, plain)]
            compare("scores", [*scores, np.array([each.score for each in captions])], tolerances.decode)
    return tuple(Difference(name, value) for name, value in largest.items())


def verify_stream(bundle: Bundle, session: InferenceSession) -> None:
    """Compare a bundle's graph `stream`, where it has one, with its `encode`: a window that grows piece by piece.

    Raises VerificationError.
    """
    manifest, graph = bundle.manifest, session.stream_graph()
    if manifest.encoder.streaming is None or graph is None:
        return
    longest = manifest.encoder.window_frames
    # at a level of its own each window would be encoded anew
    level = replace(manifest, front_end=replace(manifest.front_end, clip_level=None))
    encode, captioner = StreamEncoder(level, manifest.encoder.streaming, graph), Captioner(bundle, session)
    clip = next(sounds(manifest.front_end.sample_rate, captioner.window))
    frames = log_mel(clip, level.front_end).T[:longest]
    for end in sorted({longest * part // PIECES for part in range(1, PIECES + 1)}):
        streamed = encode(frames[:end], 0, sliding=False).clip_embedding
        expected = captioner.encode(np.ascontiguousarray(frames[:end].T)).clip_embedding
        largest = float(np.abs(streamed - expected).max() / max(float(np.abs(expected).max()), 1e-12))
        if largest > STREAM_TOLERANCE:
            raise VerificationError(
                f"the graph stream differs from encode by {largest:.1e} in a window of {end} frames"
            )


def sounds(sample_rate: int, seconds: float) -> Iterator[Waveform]:
    """Three sounds of `seconds`, the same each time, for checks: noise that swells, a sweep, clicks over a hum."""
    rng = np.random.default_rng(16)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    swell = np.sin(np.pi * time / seconds) ** 2
    clicks = (rng.random(time.size) < 4 / sample_rate).astype(np.float64)
    yield (0.3 * swell * rng.normal(size=time.size)).astype(np.float32)
    yield (0.5 * np.sin(2 * np.pi * (80 + 300 * time) * time) + 1e-3 * rng.normal(size=time.size)).astype(np.float32)
    yield (0.02 * np.sin(2 * np.pi * 50 * time) + 0.8 * clicks).astype(np.float32)


def _clips(student: Student, window_frames: int) -> Iterator[tuple[Waveform, NDArray[np.float32], int]]:
    """Clips that fill LENGTHS of a window: samples (n,), log-mel (n_mels, window_frames), memory length."""
    front_end = student.config.front_end
    seconds = (window_frames - 1) * front_end.hop_length / front_end.sample_rate
    for part, sound in zip(LENGTHS, sounds(front_end.sample_rate, seconds), strict=True):
        samples = sound[: int(part * sound.size)]
        clip = log_mel(samples, front_end)
        missing = window_frames - clip.shape[1]
        window = np.pad(clip, ((0, 0), (0, missing)), constant_values=front_end.silence)
        yield samples, window.astype(np.float32), int(student.memory_length(torch.tensor(clip.shape[1])))


def _decoding(steps: Sequence[DecodeStep], beams: int, limit: int) -> Iterator[list[NDArray[Any]]]:
    """Log-probabilities of all decoders step by step, for tokens that the first decoder ranks high."""
    tokens, parents = np.full(beams, SPECIALS.start, np.int64), np.arange(beams)
    for position in range(min(STEPS, limit)):
        exact, *others = (np.array(step(tokens, position, parents)) for step in steps)
        yield [exact, *others]
        parents = np.roll(np.arange(beams), position)  # row i goes on from another row, as in a search
        ranked = np.argsort(-exact[parents], axis=1)
        tokens = ranked[np.arange(beams), np.arange(beams)]  # row i takes its i-th best, so that rows differ


def _scores(step: DecodeStep, captions: Sequence[Hypothesis]) -> NDArray[Any]:
    """Mean log-probabilities of the words of captions (n,), by a decoder of as many rows."""
    rows, longest = np.arange(len(captions)), max(len(each.tokens) for each in captions)
    words = np.array([[SPECIALS.start, *each.tokens, *[SPECIALS.pad] * longest][: longest + 1] for each in captions])
    chosen = [step(words[:, place], place, rows)[rows, words[:, place + 1]].copy() for place in range(longest)]
    lengths = np.array([len(each.tokens) for each in captions])
    return np.asarray(np.where(np.arange(longest)[:, None] < lengths, chosen, 0).sum(axis=0) / lengths)


def _difference(
    name: str, exact: NDArray[Any], single: NDArray[Any], given: NDArray[Any], *, tolerance: float
) -> float:
    """The largest difference of one output between PyTorch in float64 (`exact`) and float32 (`single`), and `given`.

    Relative to the output's magnitude. Raises VerificationError and its children.
    """
    if not (np.isfinite(exact).all() and np.isfinite(single).all()):
        raise VerificationError(
            f"PyTorch itself computes a {name!r} with NaN or infinity; the weights are broken, nothing was written"
        )
    if given.shape != exact.shape:
        raise ShapeMismatchError(
            f"output {name!r} of the exported graph has shape {given.shape} where PyTorch's "
            f"has {exact.shape}; nothing was written"
        )
    scale = max(float(np.abs(exact).max()), 1e-6)
    allowed = tolerance + ROUNDING * float(np.abs(single - exact).max()) / scale
    difference = float(np.abs(given - exact).max()) / scale
    if not difference <= allowed:  # also true for NaN
        raise ToleranceError(
            f"output {name!r} of the exported graph differs from PyTorch's by {difference:.2g} of its "
            f"largest value where {allowed:.2g} is allowed; nothing was written"
        )
    return difference
