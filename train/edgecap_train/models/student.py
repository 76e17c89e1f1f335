"""The student: an encoder over log-mel and a caption decoder over its memory.

Knows the parts and their sizes, not where weights come from (`edgecap_train.checkpoints.checkpoint`) nor how
captions are searched (`edgecap_train.models.search`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from msgspec import Meta
from torch import Tensor, nn

from edgecap.audio.frontend import FrontEnd
from edgecap.util.limits import check_transformer
from edgecap.util.limits.bounded import Heads, Layers, Positions, Tokens, Width, Words
from edgecap_train.models.decoder import CaptionDecoder, length_mask
from edgecap_train.models.encoder import FRAMES_PER_MEMORY, build_encoder, check_encoder


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """Everything that fixes a student's shape. The defaults are the published decoder's."""

    encoder: str
    """A name of `edgecap_train.models.encoder.ENCODERS`."""
    front_end: FrontEnd
    vocabulary_size: Words
    d_model: Width = 256
    heads: Heads = 4
    layers: Layers = 2
    feed_forward: Width = 1024
    dropout: Annotated[float, Meta(ge=0, le=1)] = 0.2
    """Of the decoder, in training."""
    max_positions: Positions = 100
    """Rows of the table of positions."""
    max_tokens: Tokens = 20
    """Most tokens of a caption, the end token included."""

    def __post_init__(self) -> None:
        check_encoder(self.encoder)
        check_transformer(self.vocabulary_size, self.d_model, self.layers, self.feed_forward)


class Student(nn.Module):
    """Log-mel and the words so far in, logits out."""

    def __init__(self, config: StudentConfig, encoder: nn.Module | None = None) -> None:
        """`encoder`: another one than the configuration names, with `dim`; such a student is for experiments alone."""
        super().__init__()
        self.config = config
        self.encoder: nn.Module = build_encoder(config.encoder) if encoder is None else encoder
        self.dim = cast(int, self.encoder.dim)
        self.decoder = CaptionDecoder(
            memory_dim=self.dim,
            vocabulary_size=config.vocabulary_size,
            d_model=config.d_model,
            heads=config.heads,
            layers=config.layers,
            feed_forward=config.feed_forward,
            dropout=config.dropout,
            max_positions=config.max_positions,
        )

    def encode(self, log_mel: Tensor) -> Tensor:
        """`log_mel` (B, n_mels, T) → memory (B, S, dim), S about T / 32 (the encoder decides)."""
        return cast(Tensor, self.encoder(log_mel))

    def memory_length(self, frames: Tensor) -> Tensor:
        """Memory frames the decoder may attend to for clips of `frames` (B,) log-mel frames: floored, at least 1."""
        return (frames // FRAMES_PER_MEMORY).clamp(min=1)

    def clip_embedding(self, memory: Tensor, memory_length: Tensor) -> Tensor:
        """Mean of the memory over its first `memory_length` (B,) frames: (B, S, dim) → (B, dim)."""
        mask = length_mask(memory_length, memory.shape[1]).to(memory.dtype)[:, :, None]
        return (memory * mask).sum(dim=1) / mask.sum(dim=1)

    def forward(self, log_mel: Tensor, memory_length: Tensor, tokens: Tensor) -> Tensor:
        """Teacher forcing: `log_mel` (B, n_mels, T), `memory_length` (B,), `tokens` (B, N) → logits (B, N, V)."""
        return cast(Tensor, self.decoder(tokens, self.encode(log_mel), memory_length))
