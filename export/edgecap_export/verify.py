"""Exported graphs against PyTorch: the same inputs into both, every output compared.

Knows how a caption is made with the graphs, not which runtime runs them: a `GraphRunner` does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgecap.errors import ShapeMismatchError, ToleranceError, VerificationError
from edgecap.frontend import Samples, log_mel
from edgecap.onnx_session import import_onnxruntime
from edgecap_export.graphs import (
    DECODE_INPUTS,
    DECODE_OUTPUTS,
    ENCODE_INPUTS,
    ENCODE_OUTPUTS,
    DecodeGraph,
    EncodeGraph,
    OnnxGraphs,
    example_decode_inputs,
)
from edgecap_train.search import SPECIALS
from edgecap_train.student import Student

Arrays = dict[str, NDArray[Any]]
GraphRunner = Callable[[Mapping[str, NDArray[Any]]], Arrays]
"""Runs one graph: inputs by name → outputs by name."""

LENGTHS = (1.0, 0.63, 0.2)
"""Parts of the window that the clips fill; what is left is the front end's silence."""
BEAMS = (3, 1)
STEPS = 8


ROUNDING = 100.0
"""Weights that were never trained, or silence they have not met, can amplify the last bit a thousandfold. So
an output may also differ by this many times what PyTorch's own float32 differs from its float64; ONNX
Runtime's approximate sigmoid has been seen to need 20."""


@dataclass(frozen=True)
class Tolerances:
    """The difference that passes for each output, in parts of the largest magnitude of PyTorch's own.

    fp32 graphs of trained weights come out below 2e-5.
    """

    encode: float = 2e-4
    decode: float = 2e-4


@dataclass(frozen=True)
class Difference:
    """How far one output was from PyTorch's at most."""

    output: str
    largest: float
    """In parts of the largest magnitude."""


def verify_onnx(student: Student, graphs: OnnxGraphs, window_frames: int) -> tuple[Difference, ...]:
    """Compare ONNX graphs with the student in PyTorch; the largest difference of each output.

    Raises ShapeMismatchError or ToleranceError naming the output, and VerificationError where ONNX
    Runtime does not take the graph at all.
    """
    return verify_graphs(student, onnx_runner(graphs.encode), onnx_runner(graphs.decode), window_frames, Tolerances())


def verify_graphs(
    student: Student, encode: GraphRunner, decode: GraphRunner, window_frames: int, tolerances: Tolerances
) -> tuple[Difference, ...]:
    """Compare any runtime's graphs with the student in PyTorch, over clips, lengths, beams and steps.

    The runtime's own caches go from step to step, so that a difference that grows is seen.
    """
    largest: dict[str, float] = {}

    def compare(outputs: tuple[Arrays, Arrays, Arrays], tolerance: float) -> None:
        exact, single, given = outputs
        for name in exact:
            difference = _difference(name, exact[name], single[name], given, tolerance)
            largest[name] = max(largest.get(name, 0.0), difference)

    double = copy.deepcopy(student).double()
    for log_mels, length in _clips(student, window_frames):
        inputs: Arrays = {"log_mel": log_mels, "memory_length": length}
        exact = _torch(EncodeGraph(double), inputs, ENCODE_INPUTS, ENCODE_OUTPUTS)
        single = _torch(EncodeGraph(student), inputs, ENCODE_INPUTS, ENCODE_OUTPUTS)
        compare((exact, single, encode(inputs)), tolerances.encode)
        memory = {name: single[name] for name in ("cross_keys", "cross_values")} | {"memory_length": length}
        for beams in BEAMS:
            for outputs in _decoding(double, student, memory, beams, decode):
                compare(outputs, tolerances.decode)
    return tuple(Difference(name, value) for name, value in largest.items())


def onnx_runner(graph: bytes) -> GraphRunner:
    """A graph in ONNX Runtime on one thread. Raises VerificationError where it does not load."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise VerificationError(f"ONNX Runtime does not take the exported graph ({str(error).splitlines()[0]}); "
                                "this onnxruntime is too old, type: pip install --upgrade onnxruntime") from error
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run


def sounds(sample_rate: int, seconds: float) -> Iterator[Samples]:
    """Three sounds of `seconds`, the same each time, for checks: noise that swells, a sweep, clicks over a hum."""
    rng = np.random.default_rng(16)
    time = np.arange(int(seconds * sample_rate)) / sample_rate
    swell = np.sin(np.pi * time / seconds) ** 2
    clicks = (rng.random(time.size) < 4 / sample_rate).astype(np.float64)
    yield (0.3 * swell * rng.normal(size=time.size)).astype(np.float32)
    yield (0.5 * np.sin(2 * np.pi * (80 + 300 * time) * time) + 1e-3 * rng.normal(size=time.size)).astype(np.float32)
    yield (0.02 * np.sin(2 * np.pi * 50 * time) + 0.8 * clicks).astype(np.float32)


def _clips(student: Student, window_frames: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Log-mels (1, n_mels, window_frames) of clips of several lengths, with their memory length (1,)."""
    front_end = student.config.front_end
    seconds = (window_frames - 1) * front_end.hop_length / front_end.sample_rate
    for part, sound in zip(LENGTHS, sounds(front_end.sample_rate, seconds), strict=True):
        clip = log_mel(sound[: int(part * sound.size)], front_end)
        missing = window_frames - clip.shape[1]
        window = np.pad(clip, ((0, 0), (0, missing)), constant_values=front_end.silence)
        yield window[None].astype(np.float32), student.memory_length(torch.tensor([clip.shape[1]])).numpy()


def _decoding(
    double: Student, student: Student, memory: Arrays, beams: int, decode: GraphRunner
) -> Iterator[tuple[Arrays, Arrays, Arrays]]:
    """Outputs step by step for tokens that PyTorch finds good: in float64, in float32, and the runtime's."""
    start = example_decode_inputs(student, memory["cross_keys"].shape[2], beams)
    first = dict(zip(DECODE_INPUTS, (tensor.numpy() for tensor in start), strict=True)) | memory

    def steps(module: DecodeGraph) -> GraphRunner:
        return lambda inputs: _torch(module, inputs, DECODE_INPUTS, DECODE_OUTPUTS)

    runners = (steps(DecodeGraph(double)), steps(DecodeGraph(student)), decode)
    states: list[Arrays] = [dict(first) for _ in runners]
    tokens = np.full(beams, SPECIALS.start, np.int64)
    for position in range(min(STEPS, student.config.max_tokens)):
        outputs = []
        for run, state in zip(runners, states, strict=True):
            state |= {"tokens": tokens, "position": np.array([position], np.int64)}
            outputs.append(run(state))
            # what is missing is left to the comparison, which names it
            state |= {name: outputs[-1].get(f"new_{name}", state[name]) for name in ("self_keys", "self_values")}
        yield outputs[0], outputs[1], outputs[2]
        ranked = np.argsort(-outputs[0]["log_probs"], axis=1)
        tokens = ranked[np.arange(beams), np.arange(beams)]  # row i takes its i-th best, so that rows differ


def _torch(
    module: torch.nn.Module, inputs: Mapping[str, NDArray[Any]], names: tuple[str, ...], outputs: tuple[str, ...]
) -> Arrays:
    """One run in PyTorch, with the inputs brought to the precision of the module's weights."""
    precision = next(module.parameters()).dtype
    tensors = [torch.from_numpy(inputs[name]) for name in names]
    with torch.inference_mode():
        results = module(*(tensor.to(precision) if tensor.is_floating_point() else tensor for tensor in tensors))
    return {name: tensor.numpy() for name, tensor in zip(outputs, results, strict=True)}


def _difference(name: str, exact: NDArray[Any], single: NDArray[Any], given: Arrays, tolerance: float) -> float:
    """The difference of one output, in parts of its magnitude. Raises VerificationError and its children."""
    if not (np.isfinite(exact).all() and np.isfinite(single).all()):
        raise VerificationError(f"PyTorch itself answers with a {name!r} that is not a number; the weights are broken, "
                                "nothing was written")
    if name not in given:
        raise ShapeMismatchError(f"the exported graph has no output {name!r}; nothing was written")
    if given[name].shape != exact.shape:
        raise ShapeMismatchError(f"output {name!r} of the exported graph has shape {given[name].shape} where PyTorch's "
                                 f"has {exact.shape}; nothing was written")
    scale = max(float(np.abs(exact).max()), 1e-6)
    allowed = tolerance + ROUNDING * float(np.abs(single - exact).max()) / scale
    difference = float(np.abs(given[name] - exact).max()) / scale
    if not difference <= allowed:  # also true for NaN
        raise ToleranceError(f"output {name!r} of the exported graph differs from PyTorch's by {difference:.2g} of its "
                             f"largest value where {allowed:.2g} is allowed; nothing was written")
    return difference
