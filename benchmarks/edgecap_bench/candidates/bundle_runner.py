"""A bundle as a candidate, run as `edgecap.Captioner` runs it, and the time of its steps in a stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.frontend import log_mel
from edgecap.bundle.bundle import load_bundle
from edgecap.captioner import Captioner
from edgecap.errors import BundleError
from edgecap.inference.decoding import beam_search
from edgecap.inference.graph_session import search_feed
from edgecap.inference.litert_session import import_interpreter
from edgecap.inference.onnx_session import open_graph
from edgecap.inference.session import Encoded, open_session
from edgecap.inference.streaming import WindowEncoder
from edgecap.live.pipeline.stream import MelStream
from edgecap.types import LogMel, Waveform
from edgecap.util.stderr import silent_library
from edgecap_bench.candidates.runner import NO_TOKEN, Size

if TYPE_CHECKING:
    from edgecap_bench.counting.profile import OperatorTime


class BundleRunner:
    """A bundle of any runtime."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Load it. Raises BundleError, MissingDependencyError."""
        self._bundle = load_bundle(folder)
        self._session, self._threads = open_session(self._bundle, threads), threads
        self._sessions: dict[int, Callable[[Mapping[str, NDArray[Any]]], object]] = {}
        manifest = self.manifest = self._bundle.manifest
        self.rate = manifest.front_end.sample_rate
        self.length = (manifest.encoder.window_frames - 1) * manifest.front_end.hop_length
        self._memory_length = manifest.encoder.memory_length(manifest.encoder.window_frames)

    @property
    def streams(self) -> bool:
        """Whether log-mel frames that are known can be kept from hop to hop."""
        return self.manifest.encoder.input == "log_mel"

    def front_end(self, samples: Waveform) -> Waveform | LogMel:
        """Log-mel in NumPy; the samples themselves where the front end is part of the graph."""
        return log_mel(samples, self.manifest.front_end) if self.streams else samples

    def encode(self, features: Waveform | LogMel) -> Encoded:
        """The `encode` graph."""
        return self._session.encode(features, self._memory_length)

    def stream_encoder(self) -> WindowEncoder:
        """What encodes the windows of a stream."""
        return Captioner(self._bundle, self._session).stream_encoder()

    def decode(self, encoded: Encoded, beam: int, tokens: int) -> None:
        """The search with the `decode` graph. Raises BundleError where its cache is shorter."""
        most = self.manifest.decoder.max_tokens
        if tokens > most:
            raise BundleError(f"{self.manifest.name} writes at most {most} tokens; use --tokens {most} or less")
        if self._searches:
            self._forced(tokens)(search_feed([encoded], beam))
            return
        start = self.manifest.vocabulary.start
        beam_search(self._session.decoder(encoded, beam), beam=beam, max_tokens=tokens, start=start, end=NO_TOKEN)

    def size(self, beam: int, tokens: int) -> Size:
        """From the ONNX graphs. Raises BundleError for another runtime, MissingDependencyError without onnx."""
        from edgecap_bench.counting import macs  # not part of what is timed

        if self.manifest.runtime != "onnx":
            raise BundleError(f"multiply-adds are counted in ONNX graphs, not in a program for {self.manifest.runtime}")
        encode, decode = self._bundle.path("encode"), self._bundle.path("decode")
        if self._searches:
            steps = macs.search_multiply_adds(decode, beam, tokens)
        else:
            steps = tokens * macs.onnx_multiply_adds(decode, {"beams": self._rows(beam)})
        return Size(macs.onnx_parameters([encode, decode]), macs.onnx_multiply_adds(encode), steps)

    def profile(self, beam: int, tokens: int, threads: int) -> list[OperatorTime]:
        """Where ONNX Runtime spends a clip's time; empty for another runtime."""
        from edgecap_bench.counting.profile import profile_graph

        if self.manifest.runtime != "onnx":
            return []
        rows = self._rows(beam)
        graph: Path | bytes = self._bundle.path("decode")
        if self._searches:
            graph = forced_search(self._bundle.path("decode"), tokens)
        decode = profile_graph(graph, rows, threads, 1 if self._searches else tokens, name="decode")
        return [*profile_graph(self._bundle.path("encode"), rows, threads, name="encode"), *decode]

    def _forced(self, tokens: int) -> Callable[[Mapping[str, NDArray[Any]]], object]:
        """Runs the graph that searches by itself, which always goes on to so many tokens."""
        if tokens not in self._sessions:
            if self.manifest.runtime == "executorch":
                self._sessions[tokens] = self._forced_method(tokens)
            elif self.manifest.runtime == "litert":
                self._sessions[tokens] = _forced_program(self._bundle.path("program"), tokens, self._threads)
            else:
                graph = open_graph(forced_search(self._bundle.path("decode"), tokens), self._threads)
                self._sessions[tokens] = lambda feed: graph.run(None, feed)
        return self._sessions[tokens]

    def _forced_method(self, tokens: int) -> Callable[[Mapping[str, NDArray[Any]]], object]:
        """As `forced_search`, for ExecuTorch; what runs it."""
        from edgecap.inference.executorch_session import open_methods
        from edgecap_export.executorch.search import forced

        with TemporaryDirectory(prefix="edgecap-bench-") as folder:
            path = Path(folder) / "forced.pte"
            path.write_bytes(forced(self._bundle.path("program").read_bytes(), tokens))
            return open_methods(path, self.manifest)[1]

    @property
    def _searches(self) -> bool:
        """Whether one run of `decode` is a whole search."""
        return self.manifest.decoder.search == "in-graph"

    def _rows(self, beam: int) -> int:
        return self.manifest.decoder.beams or beam


def forced_search(path: Path, tokens: int) -> bytes:
    """A graph that searches by itself, changed so that captions have so many tokens and no end.

    Raises MissingDependencyError without the package onnx.
    """
    from edgecap_bench.counting.macs import read_graph

    model = read_graph(path)
    for item in model.graph.initializer:
        if item.name in {"end", "most"}:
            item.raw_data = np.array([NO_TOKEN if item.name == "end" else tokens], "<i8").tobytes()
    return bytes(model.SerializeToString())


def _forced_program(path: Path, tokens: int, threads: int) -> Callable[[Mapping[str, NDArray[Any]]], object]:
    """As `forced_search`, for LiteRT; what runs it."""
    from edgecap_export.litert.loop import forced

    content = forced(path.read_bytes(), {"end": NO_TOKEN, "most": tokens})
    with silent_library():
        interpreter = import_interpreter()(model_content=content, num_threads=threads)
    runner = interpreter.get_signature_runner("decode")
    types = {name: tensor["dtype"] for name, tensor in runner.get_input_details().items()}
    return lambda feed: runner(**{name: np.asarray(feed[name], kind) for name, kind in types.items()})


def hop_times(
    runner: BundleRunner, samples: Waveform, *, every: float, count: int, beam: int, tokens: int
) -> list[float]:
    """Seconds that each of `count` hops of `every` seconds takes; `samples` is repeated as a stream without end.

    As `edgecap.live` does it: each log-mel frame is computed once, and what the encoder of streams can keep is kept.
    """
    step = round(every * runner.rate)
    stream = MelStream(runner.manifest.front_end, runner.manifest.encoder.window_frames)
    stream.push(np.concatenate((samples, samples[:step])))
    encode, seconds = runner.stream_encoder(), []
    for number in range(count):
        new = np.take(samples, np.arange(number * step, (number + 1) * step), mode="wrap")
        begin = time.perf_counter()
        stream.push(new)
        frames = stream.newest()
        runner.decode(encode(frames, stream.end - len(frames), sliding=True), beam, tokens)
        seconds.append(time.perf_counter() - begin)
    return seconds
