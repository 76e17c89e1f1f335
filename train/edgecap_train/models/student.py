"""The student: an encoder over log-mel and a caption decoder over its memory.

Knows the parts and their sizes, not where weights come from (`edgecap_train.checkpoints.checkpoint`) nor how
captions are searched (`edgecap_train.models.search`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor, nn

from edgecap.audio.frontend import FrontEnd
from edgecap_train.models.decoder import CaptionDecoder, length_mask

EncoderName = Literal["efficientnet-b2", "yamnet"]


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """Everything that fixes a student's shape. The defaults are the published decoder's."""

    encoder: EncoderName
    front_end: FrontEnd
    vocabulary_size: int
    d_model: int = 256
    heads: int = 4
    layers: int = 2
    feed_forward: int = 1024
    dropout: float = 0.2
    """Of the decoder, in training."""
    max_positions: int = 100
    """Rows of the table of positions."""
    max_tokens: int = 20
    """Most tokens of a caption, the end token included."""


def _efficientnet() -> nn.Module:
    from edgecap_train.models.efficientnet import EfficientNet

    return EfficientNet()


def _yamnet() -> nn.Module:
    from edgecap_train.models.yamnet import YamNet

    return cast(nn.Module, YamNet())


ENCODERS: dict[EncoderName, Callable[[], nn.Module]] = {"efficientnet-b2": _efficientnet, "yamnet": _yamnet}
"""An encoder is a module with `dim`, the width of its memory, whose forward takes log-mel (B, n_mels, T) to
memory (B, S, dim), one memory frame for `FRAMES_PER_MEMORY` log-mel frames."""

FRAMES_PER_MEMORY = 32
"""Every encoder here halves time five times."""


class Student(nn.Module):
    """Log-mel and the words so far in, logits out."""

    def __init__(self, config: StudentConfig, encoder: nn.Module | None = None) -> None:
        """`encoder`: another one than the configuration names, with `dim`; such a student is for experiments alone."""
        super().__init__()
        self.config = config
        self.encoder = ENCODERS[config.encoder]() if encoder is None else encoder
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
        """`log_mel` (B, n_mels, T) → memory (B, S, dim), S about T / 32 (the encoder says)."""
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
