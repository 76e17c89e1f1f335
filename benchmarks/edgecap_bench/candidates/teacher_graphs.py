"""The teacher at its best: HTSAT-BART as two ONNX graphs that do no work twice.

Published, HTSAT's 32 frames are repeated to 1,024 positions before BART's encoder. Here the encoder sees the 32
distinct frames only, each at the first of its positions; what the decoder attends to is projected once; and a step
takes one token with cached keys and values. That is another function of the same weights (BART distinguishes
positions), so these graphs are for measuring speed and a lower bound of the teacher's cost, not for its captions.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecap_export.graphs.onnx_export import onnx_model
from edgecap_train.models.decoder import Cache, attention
from edgecap_train.teachers.htsat_bart import DISTINCT_FRAMES, POSITIONS, HtsatBart
from edgecap_train.teachers.htsat_frontend import FRAMES, N_MELS

ENCODE_INPUTS, ENCODE_OUTPUTS = ("log_mel",), ("cross_keys", "cross_values")
DECODE_INPUTS = ("tokens", "position", "self_keys", "self_values", "cross_keys", "cross_values")
DECODE_OUTPUTS = ("log_probs", "new_self_keys", "new_self_values")
FIRST_POSITION = 2
"""BART's tables of positions begin with two rows that no position uses."""


class TeacherEncode(nn.Module):
    """One clip's log-mel to what every step attends to."""

    def __init__(self, teacher: HtsatBart) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """`log_mel` (1, 1, 1001, 64) → keys and values, each (layers, 1, heads, 32, head_dim)."""
        bart = cast(Any, self.teacher.bart).model
        x = self.teacher.projection(self.teacher.frames_of(log_mel))
        stride = POSITIONS // DISTINCT_FRAMES
        x = x + bart.encoder.embed_positions.weight[FIRST_POSITION : FIRST_POSITION + POSITIONS : stride]
        x = bart.encoder.layernorm_embedding(x)
        for layer in bart.encoder.layers:
            x = _encoder_layer(layer, x)
        crosses = [layer.encoder_attn for layer in bart.decoder.layers]
        keys = torch.stack([_heads(cross.k_proj(x), cross.num_heads) for cross in crosses])
        return keys, torch.stack([_heads(cross.v_proj(x), cross.num_heads) for cross in crosses])


class TeacherDecode(nn.Module):
    """One token for each beam."""

    def __init__(self, teacher: HtsatBart) -> None:
        super().__init__()
        self.bart = teacher.bart

    def forward(  # noqa: PLR0917
        self,
        tokens: Tensor,
        position: Tensor,
        self_keys: Tensor,
        self_values: Tensor,
        cross_keys: Tensor,
        cross_values: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `edgecap_train.models.decoder.CaptionDecoder.step`, the cross caches (layers, 1, heads, 32, head_dim)."""
        bart = cast(Any, self.bart)
        decoder = bart.model.decoder
        places = torch.arange(self_keys.shape[3])
        past = torch.where(places <= position, 0.0, torch.tensor(-math.inf))
        here = (places == position)[:, None]
        x = decoder.embed_tokens(tokens) + decoder.embed_positions.weight.index_select(0, position + FIRST_POSITION)
        x = decoder.layernorm_embedding(x)
        keys, values = [], []
        for index, layer in enumerate(decoder.layers):
            cache = self_keys[index], self_values[index]
            x, cache = _decoder_layer(layer, x, here, past, cache, (cross_keys[index], cross_values[index]))
            keys.append(cache[0])
            values.append(cache[1])
        logits = bart.lm_head(x) + bart.final_logits_bias
        return functional.log_softmax(logits, dim=-1), torch.stack(keys), torch.stack(values)


def _heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, d_model) → (B, heads, N, head_dim)."""
    return x.reshape(x.shape[0], -1, heads, x.shape[-1] // heads).transpose(1, 2)


def _encoder_layer(layer: Any, x: Tensor) -> Tensor:  # noqa: ANN401 - transformers' own class
    own = layer.self_attn
    cache = _heads(own.k_proj(x), own.num_heads), _heads(own.v_proj(x), own.num_heads)
    attended = attention(_heads(own.q_proj(x), own.num_heads), cache, torch.zeros(1))
    x = layer.self_attn_layer_norm(x + own.out_proj(attended.transpose(1, 2).flatten(2)))
    return cast(Tensor, layer.final_layer_norm(x + layer.fc2(functional.gelu(layer.fc1(x)))))


def _decoder_layer(  # noqa: PLR0917
    layer: Any,  # noqa: ANN401
    x: Tensor,
    here: Tensor,
    past: Tensor,
    cache: Cache,
    cross: Cache,
) -> tuple[Tensor, Cache]:
    """`x` (B, d_model) → the same shape, and the cache with this position filled in."""
    own, other = layer.self_attn, layer.encoder_attn
    query, key, value = (_heads(part(x)[:, None], own.num_heads) for part in (own.q_proj, own.k_proj, own.v_proj))
    cache = torch.where(here, key, cache[0]), torch.where(here, value, cache[1])
    attended = attention(query, cache, past)
    x = layer.self_attn_layer_norm(x + own.out_proj(attended.reshape(-1, x.shape[-1])))
    # all beams ask the same clip: one product for each head
    crossed = attention(_heads(other.q_proj(x)[:, None], other.num_heads).transpose(0, 2), cross, torch.zeros(1))
    x = layer.encoder_attn_layer_norm(x + other.out_proj(crossed.transpose(0, 2).reshape(-1, x.shape[-1])))
    return cast(Tensor, layer.final_layer_norm(x + layer.fc2(functional.gelu(layer.fc1(x))))), cache


def write_teacher_graphs(teacher: HtsatBart, folder: Path, tokens: int) -> tuple[Path, Path]:
    """Export `encode.onnx` and `decode.onnx`, a cache of `tokens` steps, into `folder`."""
    config = teacher.config
    head_dim = config.d_model // config.heads
    beams = torch.export.Dim("beams", min=1, max=64)
    example = torch.zeros(1, 1, FRAMES, N_MELS)
    cache = (config.layers, 3, config.heads, tokens, head_dim)
    cross = (config.layers, 1, config.heads, DISTINCT_FRAMES, head_dim)
    inputs = (
        torch.zeros(3, dtype=torch.int64),
        torch.tensor([0]),
        torch.zeros(cache),
        torch.zeros(cache),
        torch.zeros(cross),
        torch.zeros(cross),
    )
    paths = folder / "encode.onnx", folder / "decode.onnx"
    encode = onnx_model(TeacherEncode(teacher), (example,), ENCODE_INPUTS, ENCODE_OUTPUTS, None)
    paths[0].write_bytes(encode.SerializeToString())
    del encode
    shapes = ({0: beams}, None, {1: beams}, {1: beams}, None, None)
    decode = onnx_model(TeacherDecode(teacher), inputs, DECODE_INPUTS, DECODE_OUTPUTS, shapes)
    paths[1].write_bytes(decode.SerializeToString())
    return paths
