"""A rival of another kind: an AudioSet tagger, which says tags and no sentence. What a sentence costs beside it.

The network is EfficientAT's mn04 (`edgecap_train.teachers.tagger`), a small and fast one, as an ONNX graph; its front
end is NumPy's, as edgecap's own is, so that no PyTorch is in the process that is measured.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgecap.types import Waveform
from edgecap_bench.candidates.runners import Size, graph_session

SAMPLE_RATE, CLIP_SAMPLES = 32_000, 320_000
N_FFT, HOP = 1024, 320
PREEMPHASIS = 0.97
TAGS = 5
"""How many of the 527 tags are told."""
BLOCK_FRAMES = 64
GRAPH, TABLES = "tagger.onnx", "front_end.npz"


class TaggerRunner:
    """The tagger's graph in ONNX Runtime. Its "decoder" picks the tags."""

    rate, length = SAMPLE_RATE, CLIP_SAMPLES

    def __init__(self, folder: Path, threads: int) -> None:
        self._graph = folder / GRAPH
        self._session = graph_session(self._graph, threads)
        tables = np.load(folder / TABLES, allow_pickle=False)
        self._window, self._bank = tables["window"], np.ascontiguousarray(tables["bank"].T)

    def front_end(self, samples: Waveform) -> Waveform:
        """Samples (n,) → (1, 1, 128, T): pre-emphasis, power, mel bands, logarithm, as the weights expect."""
        emphasised = samples[1:] - np.float32(PREEMPHASIS) * samples[:-1]
        padded = np.pad(emphasised, N_FFT // 2, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
        mel = np.empty((len(frames), self._bank.shape[1]), np.float32)
        for start in range(0, len(frames), BLOCK_FRAMES):
            spectrum = np.fft.rfft(frames[start : start + BLOCK_FRAMES] * self._window, axis=1)
            power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)
            np.matmul(power, self._bank, out=mel[start : start + BLOCK_FRAMES])
        return np.ascontiguousarray((np.log(mel + np.float32(1e-5)) + np.float32(4.5)).T / np.float32(5.0))[None, None]

    def encode(self, features: Waveform) -> Waveform:
        """Scores of the 527 classes, (527,)."""
        return np.asarray(self._session.run(["logits"], {"log_mel": features})[0][0])

    def decode(self, encoded: Waveform, beam: int, tokens: int) -> None:
        """The highest tags; there is nothing to search and nothing to generate."""
        np.argsort(encoded)[-TAGS:]

    def size(self, beam: int, tokens: int) -> Size:
        """From the graph."""
        from edgecap_bench.counting.macs import onnx_multiply_adds, onnx_parameters

        return Size(onnx_parameters([self._graph]), onnx_multiply_adds(self._graph), 0)
