"""Self-critical training: captions drawn from the decoder itself, and what their rewards mean for it.

The gradient of an expected reward (REINFORCE) with a baseline: the mean reward of the other captions drawn of the same
clip (Luo 2020, arXiv 2003.09971), in place of the greedy caption's of Rennie et al. 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgecap_train.models.decoder import CaptionDecoder
from edgecap_train.text.tokenizer import END, PAD, START, padded

Sampled = list[list[list[int]]]
"""Token ids of the captions drawn of each clip; the end token is last where a caption ended."""


@torch.no_grad()
def sample_captions(decoder: CaptionDecoder, memory: Tensor, length: Tensor, drawn: Tensor) -> Sampled:
    """Captions drawn word by word from what the decoder gives each word, without dropout.

    `memory` (B, S, dim), `length` (B,); `drawn` (B, captions, most tokens), uniform in [0, 1): the same numbers give
    the same captions, whatever batch the clip is in.
    """
    clips, count, most = drawn.shape
    training = decoder.training
    decoder.eval()
    try:
        cross_keys, cross_values = (cache.repeat_interleave(count, 1) for cache in decoder.cross_cache(memory))
        layers, rows, heads, _, head_dim = cross_keys.shape
        keys = values = cross_keys.new_zeros(layers, rows, heads, most, head_dim)
        lengths, places = length.repeat_interleave(count), drawn.reshape(rows, most)
        tokens = torch.full((rows,), START, device=memory.device)
        ended = torch.zeros(rows, dtype=torch.bool, device=memory.device)
        chosen = []
        for position in range(most):
            log_probs, keys, values = decoder.step(tokens, position, lengths, keys, values, cross_keys, cross_values)
            log_probs[:, :END] = -torch.inf  # padding and the start token are no words
            cumulative = log_probs.float().exp().cumsum(1)
            below = cumulative <= places[:, position, None] * cumulative[:, -1:]
            tokens = below.sum(1).clamp(max=log_probs.shape[1] - 1).masked_fill(ended, PAD)
            chosen.append(tokens)
            ended = ended | (tokens == END)
            if bool(ended.all()):
                break
    finally:
        decoder.train(training)
    ids = torch.stack(chosen, 1).tolist()
    captions = [row[: row.index(END) + 1] if END in row else row for row in ids]
    return [captions[clip * count : (clip + 1) * count] for clip in range(clips)]


def teacher_forcing(sampled: Sequence[Sequence[Sequence[int]]], device: torch.device) -> tuple[Tensor, Tensor]:
    """All captions of all clips as the decoder's inputs and targets, both (clips x captions, N) int64."""
    captions = [list(ids) for clip in sampled for ids in clip]
    inputs = torch.tensor(padded([[START, *ids[:-1]] for ids in captions], PAD), device=device)
    return inputs, torch.tensor(padded(captions, PAD), device=device)


def advantages(rewards: Tensor) -> Tensor:
    """Each reward less the mean of the others of its clip: (B, captions) → the same."""
    others = (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
    return rewards - others
