"""Transformer decoder: words so far and a memory in, logits of the next word out.

Knows nothing about sound or about search. Two ways through the same weights: `forward` for whole
captions (teacher forcing) and `step` for one token with cached keys and values. Post-norm layers,
embeddings times sqrt(d_model), classifier tied to the embedding (Xu et al. 2024, arXiv 2407.14329).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def sinusoids(length: int, width: int) -> Tensor:
    """The positions of Vaswani et al. 2017 (sines at even, cosines at odd columns): (length, width) float32."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    frequency = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10_000.0) / width))
    table = torch.zeros(length, width, dtype=torch.float64)
    table[:, 0::2] = torch.sin(position * frequency)
    table[:, 1::2] = torch.cos(position * frequency)
    return table.float()


def length_mask(length: Tensor, size: int) -> Tensor:
    """True at the first `length` of `size` places: (B,) int64 → (B, size)."""
    return torch.arange(size, device=length.device)[None, :] < length[:, None]


Cache = tuple[Tensor, Tensor]
"""Keys and values."""


def attention(query: Tensor, cache: Cache, bias: Tensor) -> Tensor:
    """Scaled dot-product attention in plain products, which every exporter turns into plain nodes.

    `query` (…, N, head_dim), keys and values (…, S, head_dim), `bias` added to the scores (…, N, S).
    """
    keys, values = cache
    scores = (query * query.shape[-1] ** -0.5) @ keys.transpose(-1, -2) + bias
    return torch.matmul(scores.softmax(dim=-1), values)


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward; the norm comes after each sum."""

    def __init__(self, d_model: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = d_model // heads
        self.self_query_key_value = nn.Linear(d_model, 3 * d_model)
        self.self_output = nn.Linear(d_model, d_model)
        self.cross_query = nn.Linear(d_model, d_model)
        self.cross_key_value = nn.Linear(d_model, 2 * d_model)
        self.cross_output = nn.Linear(d_model, d_model)
        self.widen = nn.Linear(d_model, feed_forward)
        self.narrow = nn.Linear(feed_forward, d_model)
        self.self_norm = nn.LayerNorm(d_model)
        self.cross_norm = nn.LayerNorm(d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def split(self, x: Tensor) -> Tensor:
        """(B, N, d_model) → (B, heads, N, head_dim)."""
        return x.reshape(-1, x.shape[1], self.heads, self.head_dim).transpose(1, 2)

    def cross_keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Projected memory (B, S, d_model) → keys and values, each (B, heads, S, head_dim)."""
        keys, values = self.cross_key_value(memory).chunk(2, dim=-1)
        return self.split(keys), self.split(values)

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """`query` (B, heads, N, head_dim), keys and values (B, heads, S, head_dim), boolean mask → (B, N, d_model)."""
        drop = self.dropout.p if self.training else 0.0
        out = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask, dropout_p=drop)
        return out.transpose(1, 2).flatten(2)

    def feed_forward(self, x: Tensor) -> Tensor:
        """The last third of a layer: (…, d_model) → (…, d_model)."""
        wide = self.dropout(functional.relu(self.widen(x)))
        return torch.as_tensor(self.feed_forward_norm(x + self.dropout(self.narrow(wide))))

    def forward(self, x: Tensor, causal: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Whole captions: `x` (B, N, d_model) → the same shape."""
        query, key, value = (self.split(part) for part in self.self_query_key_value(x).chunk(3, dim=-1))
        x = self.self_norm(x + self.dropout(self.self_output(self.attend(query, key, value, causal))))
        crossed = self.attend(self.split(self.cross_query(x)), keys, values, mask)
        x = self.cross_norm(x + self.dropout(self.cross_output(crossed)))
        return self.feed_forward(x)

    def step(  # noqa: PLR0917
        self, x: Tensor, here: Tensor, past: Tensor, cache: Cache, cross: Cache, seen: Tensor
    ) -> tuple[Tensor, Cache]:
        """One token a row: `x` (B, d_model) → the same shape, and the cache with this position filled in.

        `here` (max_tokens, 1) is True at this position; `past` and `seen` are 0 where a row may attend to its
        own past and to the memory, else minus infinity. `cross` has one clip for each row, or one for all.
        """
        query, key, value = (
            part.reshape(-1, self.heads, 1, self.head_dim) for part in self.self_query_key_value(x).chunk(3, dim=-1)
        )
        cache = torch.where(here, key, cache[0]), torch.where(here, value, cache[1])
        attended = attention(query, cache, past).reshape(-1, self.heads * self.head_dim)
        x = self.self_norm(x + self.self_output(attended))
        query = self.cross_query(x).reshape(-1, self.heads, 1, self.head_dim)
        if cross[0].shape[0] == 1:  # all rows are of one clip: one product for each head instead of one for each row
            crossed = attention(query.transpose(0, 2), cross, seen).transpose(0, 2)
        else:
            crossed = attention(query, cross, seen)
        x = self.cross_norm(x + self.cross_output(crossed.reshape(-1, self.heads * self.head_dim)))
        return self.feed_forward(x), cache


class CaptionDecoder(nn.Module):
    """The decoder of the student: 3,768,832 parameters at 4,981 words over a memory of 1,408."""

    def __init__(
        self,
        *,
        memory_dim: int,
        vocabulary_size: int,
        d_model: int = 256,
        heads: int = 4,
        layers: int = 2,
        feed_forward: int = 1024,
        dropout: float = 0.2,
        max_positions: int = 100,
    ) -> None:
        super().__init__()
        self.memory_projection = nn.Linear(memory_dim, d_model)
        self.memory_norm = nn.LayerNorm(d_model)
        self.embedding = nn.Embedding(vocabulary_size, d_model)
        # unit variance after the factor sqrt(d_model), and logits of order one through the tied classifier
        nn.init.normal_(self.embedding.weight, std=d_model**-0.5)
        self.register_buffer("positions", sinusoids(max_positions, d_model))
        self.positions: Tensor
        self.layers = nn.ModuleList(DecoderLayer(d_model, heads, feed_forward, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.scale = math.sqrt(d_model)

    def project(self, memory: Tensor) -> Tensor:
        """Memory (B, S, memory_dim) → (B, S, d_model)."""
        hidden = self.dropout(functional.relu(self.memory_projection(memory)))
        return torch.as_tensor(self.memory_norm(hidden))

    def logits(self, x: Tensor) -> Tensor:
        """(…, d_model) → (…, vocabulary): the classifier is the embedding."""
        return functional.linear(x, self.embedding.weight)

    def forward(self, tokens: Tensor, memory: Tensor, memory_length: Tensor) -> Tensor:
        """Logits of the word after each word of `tokens`.

        `tokens` (B, N) int64, the start token first, padding only at the end; `memory` (B, S, memory_dim);
        `memory_length` (B,) int64 from 1 to S → (B, N, vocabulary).
        """
        count = tokens.shape[1]
        x = self.dropout(self.embedding(tokens)) * self.scale
        x = self.dropout(x + self.positions[:count])
        causal = torch.ones(count, count, dtype=torch.bool, device=tokens.device).tril()
        mask = length_mask(memory_length, memory.shape[1])[:, None, None, :]
        projected = self.project(memory)
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            x = layer(x, causal, *layer.cross_keys_values(projected), mask)
        return self.logits(x)

    def cross_cache(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values that every step attends to.

        Memory (B, S, memory_dim) → two of (layers, B, heads, S, head_dim).
        """
        projected = self.project(memory)
        pairs = [layer.cross_keys_values(projected) for layer in self.layers if isinstance(layer, DecoderLayer)]
        return torch.stack([keys for keys, _ in pairs]), torch.stack([values for _, values in pairs])

    def step(  # noqa: PLR0917
        self,
        tokens: Tensor,
        position: int | Tensor,
        memory_length: Tensor,
        self_keys: Tensor,
        self_values: Tensor,
        cross_keys: Tensor,
        cross_values: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One token for each of B rows, all at the same position.

        `tokens` (B,) int64; `position` an int or (1,) int64, 0 for the start token; `memory_length` (B,) or (1,);
        self caches (layers, B, heads, max_tokens, head_dim), finite numbers at later positions are ignored;
        cross caches (layers, B or 1, heads, S, head_dim) → log-probabilities (B, vocabulary) and the new self caches.
        """
        device = tokens.device
        at = torch.as_tensor(position, device=device).reshape(1)
        places = torch.arange(self_keys.shape[3], device=device)
        forbidden = torch.tensor(-math.inf, device=device)
        past = torch.where(places <= at, 0.0, forbidden)
        seen = torch.where(length_mask(memory_length, cross_keys.shape[3]), 0.0, forbidden)[:, None, None, :]
        x = self.embedding(tokens) * self.scale + self.positions.index_select(0, at)
        caches = []
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            cache, cross = (self_keys[index], self_values[index]), (cross_keys[index], cross_values[index])
            x, cache = layer.step(x, (places == at)[:, None], past, cache, cross, seen)
            caches.append(cache)
        log_probs = functional.log_softmax(self.logits(x), dim=-1)
        return log_probs, torch.stack([keys for keys, _ in caches]), torch.stack([values for _, values in caches])
