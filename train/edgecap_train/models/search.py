"""Captions from a PyTorch student: `edgecap.inference.decoding`'s search over `CaptionDecoder.step`.

The search itself is the runtime's, so that what is measured in training is what a device does.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgecap.bundle.manifest import VocabularySpec
from edgecap.inference.decoding import Hypothesis, beam_search
from edgecap_train.models.decoder import CaptionDecoder
from edgecap_train.models.encoder import FRAMES_PER_MEMORY
from edgecap_train.models.frontend import LogMelLayer
from edgecap_train.models.student import Student

SPECIALS = VocabularySpec(size=4)
"""Ids of the special tokens: the same in the published vocabularies and in ours."""


class CachedSteps:
    """A `DecodeStep` of `edgecap.inference.decoding` for one clip's memory, with the caches kept between calls."""

    def __init__(self, decoder: CaptionDecoder, memory: Tensor, memory_length: Tensor, max_tokens: int) -> None:
        """`memory` (1, S, dim), `memory_length` (1,) int64."""
        self.decoder = decoder
        self.memory_length = memory_length
        self.cross_keys, self.cross_values = decoder.cross_cache(memory)
        layers, _, heads, _, head_dim = self.cross_keys.shape
        empty = self.cross_keys.new_zeros(layers, 1, heads, max_tokens, head_dim)
        self.self_keys, self.self_values = empty, empty

    def __call__(self, tokens: NDArray[np.int64], position: int, parents: NDArray[np.int64]) -> NDArray[np.float32]:
        """Log-probabilities of the next token, (beams, vocabulary)."""
        device = self.memory_length.device
        rows = torch.from_numpy(parents).to(device) if position else torch.zeros(len(tokens), dtype=torch.int64)
        log_probs, self.self_keys, self.self_values = self.decoder.step(
            torch.from_numpy(tokens).to(device),
            position,
            self.memory_length,
            self.self_keys[:, rows],
            self.self_values[:, rows],
            self.cross_keys,
            self.cross_values,
        )
        return np.asarray(log_probs.float().cpu())


@torch.inference_mode()
def encode_samples(student: Student, samples: Tensor) -> tuple[Tensor, Tensor]:
    """The memory (1, S, dim) of one clip and its length (1,) int64; `samples` and short clips as `search_samples`."""
    front_end = student.config.front_end
    shortest = max((FRAMES_PER_MEMORY - 1) * front_end.hop_length, front_end.n_fft // 2 + 1)
    samples = functional.pad(samples, (0, max(0, shortest - len(samples))))
    log_mel = LogMelLayer(front_end).to(samples.device)(samples[None])
    return student.encode(log_mel), student.memory_length(torch.tensor([log_mel.shape[2]], device=samples.device))


def search_samples(student: Student, samples: Tensor, *, beam: int) -> list[Hypothesis]:
    """Captions of one clip of any length at its own length, best first.

    `samples` (n,) float32 in [-1, 1] at the student's sample rate; a clip too short for one whole memory
    frame (below 4,960 samples, published front end) is padded with zeros, since attention over nothing is
    not a number. The student must be in eval mode.
    """
    memory, length = encode_samples(student, samples)
    return search(student, memory, length, beam=beam)


@torch.inference_mode()
def search(student: Student, memory: Tensor, memory_length: Tensor, *, beam: int) -> list[Hypothesis]:
    """Captions of one clip, best first; a beam of 1 is greedy.

    `memory` (1, S, dim) and `memory_length` (1,) int64, from 1 to S. The student must be in eval mode.
    """
    limit = student.config.max_tokens
    steps = CachedSteps(student.decoder, memory, memory_length, limit)
    return beam_search(steps, beam=beam, max_tokens=limit, start=SPECIALS.start, end=SPECIALS.end)
