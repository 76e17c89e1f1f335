"""PyTorch as the backend of a session: the reference that every exported bundle is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from edgecap.inference.decoding import DecodeStep, Hypothesis, beam_search
from edgecap.inference.session import Encoded
from edgecap.types import LogMel
from edgecap_export.graphs.onnx_export import DecodeGraph, EncodeGraph, example_decode_inputs
from edgecap_train.models.search import SPECIALS
from edgecap_train.models.student import Student


class TorchSession:
    """An `InferenceSession` over a student in eval mode on the CPU, in the precision of its weights."""

    def __init__(self, student: Student) -> None:
        self._student = student
        self._encode, self._decode = EncodeGraph(student), DecodeGraph(student)
        self._dtype = next(student.parameters()).dtype

    def encode(self, log_mel: LogMel, memory_length: int) -> Encoded:
        """Run the encoder on one window, as `InferenceSession.encode` says."""
        with torch.inference_mode():
            outputs = self._encode(torch.from_numpy(log_mel)[None].to(self._dtype), torch.tensor([memory_length]))
        keys, values, embedding = (output.numpy() for output in outputs)
        return Encoded(keys, values, embedding[0], memory_length)

    def search(self, encoded: Encoded, beam: int) -> list[Hypothesis]:
        """The best captions of one window, as `InferenceSession.search` says."""
        step, most = self.decoder(encoded, beam), self._student.config.max_tokens
        return beam_search(step, beam=beam, max_tokens=most, start=SPECIALS.start, end=SPECIALS.end)

    def stream_graph(self) -> None:
        """PyTorch encodes whole windows."""

    def search_several(self, encoded: Sequence[Encoded], beam: int) -> list[list[Hypothesis]]:
        """As `InferenceSession.search_several` says."""
        return [self.search(each, beam) for each in encoded]

    def decoder(self, encoded: Encoded, beam: int) -> DecodeStep:
        """A decoder of one window, as `InferenceSession.decoder` says."""
        _, _, _, *empty = example_decode_inputs(self._student, encoded.cross_keys.shape[2], beam)
        caches = [cache.to(self._dtype) for cache in empty[:2]]
        cross = [torch.from_numpy(array).to(self._dtype) for array in (encoded.cross_keys, encoded.cross_values)]
        length = torch.tensor([encoded.memory_length])

        def step(tokens: NDArray[np.int64], position: int, parents: NDArray[np.int64]) -> NDArray[np.float32]:
            rows = torch.from_numpy(parents) if position else torch.arange(beam)
            inputs = torch.from_numpy(tokens), torch.tensor([position]), length
            with torch.inference_mode():
                log_probs, *caches[:] = self._decode(*inputs, caches[0][:, rows], caches[1][:, rows], *cross)
            return np.asarray(log_probs.numpy())

        return step
