"""The teacher at its best as a candidate: its two graphs in ONNX Runtime, without PyTorch in the process.

`edgecap_bench.candidates.teacher_graphs` writes the graphs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecap.inference.decoding import beam_search
from edgecap.inference.onnx_session import open_graph
from edgecap.types import LogMel, Waveform
from edgecap_bench.candidates.runner import NO_TOKEN, Size
from edgecap_train.teachers import htsat_frontend

if TYPE_CHECKING:
    from edgecap_bench.counting.profile import OperatorTime

START_TOKEN = 2
"""BART begins a sentence with its end token."""


class TeacherGraphsRunner:
    """HTSAT over 32 frames, BART with cached keys and values."""

    rate, length = htsat_frontend.SAMPLE_RATE, htsat_frontend.CLIP_SAMPLES

    def __init__(self, folder: Path, threads: int) -> None:
        """Load `encode.onnx` and `decode.onnx`. Raises BundleError."""
        self._graphs = [folder / "encode.onnx", folder / "decode.onnx"]
        self._encoder, self._decoder = (open_graph(graph, threads) for graph in self._graphs)
        cache = next(node.shape for node in self._decoder.get_inputs() if node.name == "self_keys")
        self._layers, _, self._heads, self._steps, self._head_dim = cache

    def front_end(self, samples: Waveform) -> LogMel:
        """Log-mel in NumPy, (1, 1, 1001, 64)."""
        return htsat_frontend.log_mel(samples)[None, None]

    def encode(self, features: LogMel) -> dict[str, NDArray[np.float32]]:
        """HTSAT, BART's encoder over 32 frames, and what each step attends to."""
        keys, values = self._encoder.run(["cross_keys", "cross_values"], {"log_mel": features})
        return {"cross_keys": keys, "cross_values": values}

    def decode(self, encoded: dict[str, NDArray[np.float32]], beam: int, tokens: int) -> None:
        """Cached steps under edgecap's search."""
        steps = tokens
        empty = np.zeros((self._layers, beam, self._heads, self._steps, self._head_dim), np.float32)
        feed: dict[str, Any] = {**encoded, "self_keys": empty, "self_values": empty}

        def step(tokens: NDArray[np.int64], position: int, parents: NDArray[np.int64]) -> NDArray[np.float32]:
            if position:
                feed["self_keys"], feed["self_values"] = feed["self_keys"][:, parents], feed["self_values"][:, parents]
            feed["tokens"], feed["position"] = tokens, np.array([position], np.int64)
            names = ["log_probs", "new_self_keys", "new_self_values"]
            log_probs, feed["self_keys"], feed["self_values"] = self._decoder.run(names, feed)
            return np.asarray(log_probs)

        beam_search(step, beam=beam, max_tokens=steps, start=START_TOKEN, end=NO_TOKEN)

    def size(self, beam: int, tokens: int) -> Size:
        """From the graphs."""
        from edgecap_bench.counting.macs import onnx_multiply_adds, onnx_parameters  # not part of what is timed

        encode, decode = self._graphs
        steps = tokens * onnx_multiply_adds(decode, {"beams": beam})
        return Size(onnx_parameters(self._graphs), onnx_multiply_adds(encode), steps)

    def profile(self, beam: int, tokens: int, threads: int) -> list[OperatorTime]:
        """Where ONNX Runtime spends a clip's time."""
        from edgecap_bench.counting.profile import profile_graph

        encode, decode = self._graphs
        return [
            *profile_graph(encode, beam, threads, name="encode"),
            *profile_graph(decode, beam, threads, tokens, name="decode"),
        ]
