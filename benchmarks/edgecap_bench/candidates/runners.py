"""The contestants of a comparison, each as three stages: front end, encoder, decoder.

Every runner generates just as many tokens as it is told, with the same number of beams: no end token ends a search.
Each is loaded in a process of its own (`edgecap_bench.harness.worker`), and imports only what it needs itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import BundleError
from edgecap.inference.decoding import beam_search
from edgecap.types import Waveform

if TYPE_CHECKING:
    from edgecap_bench.comparison.results import OperatorTime

NO_TOKEN = -1
"""Given as the end token, it ends no search."""
Kind = Literal["teacher", "teacher-onnx", "reference", "tagger", "bundle"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One contestant, as it is told to its process."""

    key: str
    """Short name, the column of its ratios."""
    kind: Kind
    path: str
    """Its checkpoint, its folder of graphs, or its bundle."""
    stand_in: bool = False
    """Whether its weights were drawn for this run."""
    optional: bool = False
    """Whether the comparison goes on without it where it does not load."""


@dataclass(frozen=True)
class Size:
    """What a contestant is, counted."""

    parameters: int
    encoder_multiply_adds: int
    """For one clip."""
    decoder_multiply_adds: int
    """For one clip: all its steps and all its beams."""


class Runner(Protocol):
    """A loaded contestant."""

    rate: int
    """Of the samples it takes, in hertz."""
    length: int
    """Samples of a clip."""

    def front_end(self, samples: Waveform) -> Any:  # noqa: ANN401 - each its own
        """Samples (length,) to features."""
        ...

    def encode(self, features: Any) -> Any:  # noqa: ANN401
        """Features to what the decoder needs."""
        ...

    def decode(self, encoded: Any, beam: int, tokens: int) -> None:  # noqa: ANN401
        """Beam search of just `tokens` tokens."""
        ...

    def size(self, beam: int, tokens: int) -> Size:
        """Parameters and work; may take a while and much memory."""
        ...


def open_runner(entry: Candidate, threads: int) -> Runner:
    """Load a contestant. Raises EdgecapError for one that cannot be loaded."""
    if entry.kind == "bundle":
        return BundleRunner(entry.path, threads)
    if entry.kind == "teacher-onnx":
        return TeacherGraphsRunner(Path(entry.path), threads)
    if entry.kind == "tagger":
        from edgecap_bench.candidates.tagger import TaggerRunner

        return TaggerRunner(Path(entry.path), threads)
    from edgecap_bench.candidates.torch_runners import open_torch_runner

    return open_torch_runner(entry.kind, Path(entry.path), threads)


def graph_session(graph: Path, threads: int) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """An ONNX graph in ONNX Runtime as anyone would run it. Raises MissingDependencyError."""
    from edgecap.inference.onnx_session import import_onnxruntime

    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


class BundleRunner:
    """A bundle, as `edgecap.Captioner` runs it."""

    def __init__(self, model: str, threads: int) -> None:
        from edgecap.bundle.bundle import load_bundle
        from edgecap.bundle.models import find_model
        from edgecap.inference.session import open_session

        self._bundle = load_bundle(find_model(model))
        self._session = open_session(self._bundle, threads)
        manifest = self.manifest = self._bundle.manifest
        self.rate = manifest.front_end.sample_rate
        self.length = (manifest.encoder.window_frames - 1) * manifest.front_end.hop_length
        self._memory_length = manifest.encoder.memory_length(manifest.encoder.window_frames)

    @property
    def streams(self) -> bool:
        """Whether log-mel frames that are known can be kept from hop to hop."""
        return self.manifest.encoder.input == "log_mel"

    def front_end(self, samples: Waveform) -> Waveform:
        """Log-mel in NumPy; the samples themselves where the front end is part of the graph."""
        from edgecap.audio.frontend import log_mel

        return log_mel(samples, self.manifest.front_end) if self.streams else samples

    def encode(self, features: Waveform) -> Any:  # noqa: ANN401
        """The `encode` graph."""
        return self._session.encode(features, self._memory_length)

    def decode(self, encoded: Any, beam: int, tokens: int) -> None:  # noqa: ANN401
        """The `decode` graph under edgecap's search. Raises BundleError where its cache is shorter."""
        if tokens > self.manifest.decoder.max_tokens:
            raise BundleError(
                f"{self.manifest.name} writes at most {self.manifest.decoder.max_tokens} tokens; give "
                f"--tokens {self.manifest.decoder.max_tokens} or less"
            )
        beam_search(
            self._session.decoder(encoded, beam),
            beam=beam,
            max_tokens=tokens,
            start=self.manifest.vocabulary.start,
            end=NO_TOKEN,
        )

    def size(self, beam: int, tokens: int) -> Size:
        """From the graphs. Raises BundleError for graphs of another runtime than ONNX."""
        from edgecap_bench.counting.macs import onnx_multiply_adds, onnx_parameters

        if self.manifest.runtime != "onnx":
            raise BundleError(f"its work is counted in ONNX graphs, not in a program of {self.manifest.runtime}")
        graphs = [self._bundle.path("encode"), self._bundle.path("decode")]
        rows = self.manifest.decoder.beams or beam
        return Size(
            onnx_parameters(graphs),
            onnx_multiply_adds(graphs[0]),
            tokens * onnx_multiply_adds(graphs[1], {"beams": rows}),
        )

    def profile(self, beam: int, tokens: int, threads: int) -> list[OperatorTime]:
        """Where ONNX Runtime spends a clip's time; empty for another runtime."""
        from edgecap_bench.counting.profile import profile_graph

        if self.manifest.runtime != "onnx":
            return []
        rows = self.manifest.decoder.beams or beam
        return [
            *profile_graph(self._bundle.path("encode"), rows, threads),
            *profile_graph(self._bundle.path("decode"), rows, threads, tokens),
        ]


class TeacherGraphsRunner:
    """The teacher at its best: `edgecap_bench.candidates.teacher_graphs` in ONNX Runtime, no PyTorch in the process."""

    def __init__(self, folder: Path, threads: int) -> None:
        from edgecap_train.teachers import htsat_frontend

        self._front = htsat_frontend
        self.rate, self.length = htsat_frontend.SAMPLE_RATE, htsat_frontend.CLIP_SAMPLES
        self._graphs = [folder / "encode.onnx", folder / "decode.onnx"]
        self._sessions = [graph_session(graph, threads) for graph in self._graphs]
        cache = next(node.shape for node in self._sessions[1].get_inputs() if node.name == "self_keys")
        self._layers, _, self._heads, self._most, self._head_dim = cache

    def front_end(self, samples: Waveform) -> Waveform:
        """Log-mel in NumPy, (1, 1, 1001, 64)."""
        return self._front.log_mel(samples)[None, None]

    def encode(self, features: Waveform) -> dict[str, Waveform]:
        """HTSAT, BART's encoder over 32 frames, and what each step attends to."""
        keys, values = self._sessions[0].run(["cross_keys", "cross_values"], {"log_mel": features})
        return {"cross_keys": keys, "cross_values": values}

    def decode(self, encoded: dict[str, Waveform], beam: int, tokens: int) -> None:
        """Cached steps under edgecap's search."""
        steps = tokens
        empty = np.zeros((self._layers, beam, self._heads, self._most, self._head_dim), np.float32)
        feed: dict[str, Any] = {**encoded, "self_keys": empty, "self_values": empty}

        def step(tokens: NDArray[np.int64], position: int, parents: NDArray[np.int64]) -> NDArray[np.float32]:
            if position:
                feed["self_keys"], feed["self_values"] = feed["self_keys"][:, parents], feed["self_values"][:, parents]
            feed["tokens"], feed["position"] = tokens, np.array([position], np.int64)
            names = ["log_probs", "new_self_keys", "new_self_values"]
            log_probs, feed["self_keys"], feed["self_values"] = self._sessions[1].run(names, feed)
            return np.asarray(log_probs)

        beam_search(step, beam=beam, max_tokens=steps, start=2, end=NO_TOKEN)

    def size(self, beam: int, tokens: int) -> Size:
        """From the graphs."""
        from edgecap_bench.counting.macs import onnx_multiply_adds, onnx_parameters

        return Size(
            onnx_parameters(self._graphs),
            onnx_multiply_adds(self._graphs[0]),
            tokens * onnx_multiply_adds(self._graphs[1], {"beams": beam}),
        )

    def profile(self, beam: int, tokens: int, threads: int) -> list[OperatorTime]:
        """See `BundleRunner.profile`."""
        from edgecap_bench.counting.profile import profile_graph

        return [*profile_graph(self._graphs[0], beam, threads), *profile_graph(self._graphs[1], beam, threads, tokens)]
