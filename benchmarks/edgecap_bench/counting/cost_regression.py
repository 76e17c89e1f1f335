"""Counted cost of edgecap's students, compared with a file in the repository: a check that no clock can disturb.

    python -m edgecap_bench.counting.cost_regression [--update]

It counts and compares with benchmarks/counted.json; with --update it writes that file. Exit code 1 where something
changed.

Counted are the multiply-adds, operators and bytes of the graphs that the exporter writes for each architecture (random
weights, so that no shipped model is needed), how often a caption and a hop of a stream call the runtime, and the most
memory that edgecap's own Python allocates at once for a clip, for a hop of a stream and for a search.
"""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.frontend import FrontEnd, log_mel
from edgecap.bundle.bundle import Bundle
from edgecap.captioner import Captioner
from edgecap.cli.console import say, write
from edgecap.errors import EdgecapError, ResultError
from edgecap.inference.decoding import beam_search
from edgecap.inference.onnx_session import OnnxSession
from edgecap.inference.session import StreamGraph
from edgecap.live.pipeline.stream import MelStream
from edgecap.util.files import write_atomically
from edgecap_bench.counting.macs import onnx_multiply_adds, onnx_operators, onnx_parameters, search_multiply_adds

COUNTED = Path(__file__).parents[2] / "counted.json"
FORMAT_VERSION = 1
COMMAND = "python -m edgecap_bench.counting.cost_regression"
BEAMS, TOKENS, WORDS = 3, 20, 2_000
HOP = 200
"""Log-mel frames of a hop of two seconds."""
ALLOCATIONS = "allocations of the runtime"
STUDENTS = ("tiny", "effb2-trm")
TOLERANCES = {"multiply-adds": 0.0, "parameters": 0.0, "operators": 0.05, "bytes": 0.02}
TOLERANCES |= {"calls": 0.0, "allocated bytes": 0.05}
"""Part by which a count may differ. Exporters of other versions write a few operators more or less."""
Counts = dict[str, dict[str, float]]
"""Subject → what is counted → how much."""


def count(students: Sequence[str] = STUDENTS) -> Counts:
    """Count allocations and the graphs of these students anew; an export of each takes ten seconds.

    Needs the extra export.
    """
    return {ALLOCATIONS: _allocations(), **{name: _student(name) for name in students}}


def differences(before: Counts, after: Counts) -> list[str]:
    """What changed by more than it may, a line each; more and less alike, so that the file stays true."""
    lines = []
    for subject in sorted(before.keys() | after.keys()):
        old, new = before.get(subject, {}), after.get(subject, {})
        for name in sorted(old.keys() | new.keys()):
            if name not in old or name not in new:
                lines.append(f"{subject}: {name} is {'no longer' if name in old else 'not yet'} counted")
                continue
            most = TOLERANCES[name.split(",")[0]]
            if abs(new[name] - old[name]) > most * old[name]:
                share = f" ({new[name] / old[name] - 1:+.1%})" if old[name] else ""
                lines.append(f"{subject}: {name} was {old[name]:g} and is {new[name]:g}{share}, allowed {most:.0%}")
    return lines


def read_counts(path: Path = COUNTED) -> Counts:
    """The counts of the repository. Raises ResultError."""
    try:
        document = json.loads(path.read_bytes())
        if document["format_version"] != FORMAT_VERSION:
            raise ResultError(
                f"{path} has format version {document['format_version']!r} and this edgecap reads "
                f"{FORMAT_VERSION}; type: {COMMAND} --update"
            )
        return {subject: dict(counts) for subject, counts in document["counts"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultError(f"{path} cannot be read ({error}); type: {COMMAND} --update") from error


def write_counts(counts: Counts, path: Path = COUNTED) -> None:
    """Write the counts. Raises OutputError."""
    document = {"format": "edgecap-bench-counted", "format_version": FORMAT_VERSION, "counts": counts}
    write_atomically(path, json.dumps(document, indent=1) + "\n")


def _student(name: str) -> dict[str, float]:
    """One architecture as its recipe has it, exported with random weights."""
    import torch

    from edgecap.bundle.manifest import Licence, Provenance
    from edgecap_export.bundle.bundles import bundle_contents, manifest_of, trial, window_frames
    from edgecap_export.graphs.onnx_export import onnx_encoder
    from edgecap_export.onnx.lowering import searching_graphs
    from edgecap_export.onnx.streaming import with_streaming
    from edgecap_export.recipes import FP32
    from edgecap_train.models.student import Student, StudentConfig
    from edgecap_train.models.yamnet import FRONT_END

    configs = {
        "tiny": StudentConfig(
            encoder="yamnet", front_end=FRONT_END, vocabulary_size=WORDS, d_model=192, feed_forward=640
        ),
        "effb2-trm": StudentConfig(encoder="efficientnet-b2", front_end=FrontEnd(), vocabulary_size=WORDS),
    }
    torch.manual_seed(0)
    student = Student(configs[name]).eval()
    window = window_frames(student)
    graphs = searching_graphs(FP32, student, window, onnx_encoder(student, window)).by_role()
    words = tuple(f"word{number}" for number in range(WORDS))
    manifest = manifest_of(
        student,
        name=name,
        window=window,
        precision="fp32",
        licence=Licence(name="CC0-1.0"),
        provenance=Provenance(source="random weights, to be counted", created_by="edgecap bench"),
        search="in-graph",
    )
    with trial(*with_streaming(manifest, bundle_contents("onnx", graphs, words))) as bundle:
        paths = {role: bundle.path(role) for role in graphs}
        counts: dict[str, float] = {"parameters": onnx_parameters(list(paths.values()))}
        counts["multiply-adds, encode"] = onnx_multiply_adds(paths["encode"])
        counts[f"multiply-adds, decode, {TOKENS} tokens"] = search_multiply_adds(paths["decode"], BEAMS, TOKENS)
        for role, path in paths.items():
            operators = onnx_operators(path)
            counts[f"operators, {role}"] = sum(operators.values())
            counts |= {f"operators, {role}, {kind}": operators.get(kind, 0) for kind in ("Conv", "MatMul", "Gemm")}
            counts[f"bytes, {role}"] = path.stat().st_size
        return counts | _calls(bundle)


class _CountedSession(OnnxSession):
    """Counts how often its graphs are run."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle, 1)
        self.calls = 0
        self._encode, self._decode = self._counted(self._encode), self._counted(self._decode)

    def stream_graph(self) -> StreamGraph | None:
        """As the session that it is, with its runs counted."""
        graph = super().stream_graph()
        return None if graph is None else replace(graph, run=self._counted(graph.run))

    def _counted(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def counted(feed: object) -> Any:  # noqa: ANN401 - what the graph gives
            self.calls += 1
            return run(feed)

        return counted


def _calls(bundle: Bundle) -> dict[str, float]:
    """How often a caption, and a hop of a stream, runs a graph of the bundle."""
    session = _CountedSession(bundle)
    captioner = Captioner(bundle, session)
    front_end, longest = bundle.manifest.front_end, bundle.manifest.encoder.window_frames
    samples = np.random.default_rng(0).standard_normal(round(captioner.window * front_end.sample_rate))
    captioner.caption(samples.clip(-1, 1), front_end.sample_rate)
    caption, encode = session.calls, captioner.stream_encoder()
    frames = np.random.default_rng(1).standard_normal((longest + HOP, front_end.n_mels)).astype(np.float32)
    encode(frames[:longest], 0, sliding=True)
    session.calls = 0
    captioner.decode(encode(frames[HOP:], HOP, sliding=True))
    return {"calls, caption": caption, "calls, hop of a stream": session.calls}


def _allocations() -> dict[str, float]:
    """The most that is allocated at once, NumPy's arrays among it."""
    front_end, rate = FrontEnd(), FrontEnd().sample_rate
    samples = np.random.default_rng(0).standard_normal(10 * rate).astype(np.float32)
    log_probs = np.random.default_rng(1).standard_normal((BEAMS, WORDS)).astype(np.float32)
    stream = MelStream(front_end, front_end.frames(10 * rate))
    stream.push(samples)

    def step(tokens: NDArray[np.int64], position: int, parents: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.roll(log_probs, position, axis=1)

    def hop() -> None:
        stream.push(samples[: 2 * rate])
        stream.window()

    return {
        "allocated bytes, front end, 10 s": _most(lambda: log_mel(samples, front_end)),
        "allocated bytes, hop of 2 s": _most(hop),
        f"allocated bytes, search, {BEAMS} beams": _most(
            lambda: beam_search(step, beam=BEAMS, max_tokens=TOKENS, start=1, end=2)
        ),
    }


def _most(run: Callable[[], object]) -> int:
    """Bytes allocated at once in a run, after one run that fills tables and caches."""
    run()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        run()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def main(arguments: list[str]) -> int:
    """Count and compare, or update; the exit code."""
    if arguments not in ([], ["--update"]):
        say("error", f"unknown arguments; type: {COMMAND} [--update]")
        return 2
    try:
        counts = count()
        if arguments:
            write_counts(counts)
            return 0
        changes = differences(read_counts(), counts)
    except EdgecapError as error:
        say("error", str(error))
        return error.exit_code
    for line in changes:
        write(line)
    if changes:
        say("error", f"the counted cost changed; if that was intended, type: {COMMAND} --update")
    return 1 if changes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
