"""A captioner that reads tag scores: a few tokens of memory made of the scores, and the student's own decoder.

The teacher that learns from text alone (`edgecap_train.teacher_training.text_teacher`). Knows tensors, neither sound
nor files.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgecap.inference.decoding import beam_search
from edgecap_train.models.decoder import CaptionDecoder
from edgecap_train.models.search import CachedSteps
from edgecap_train.text.captions import END, START

CLASSES = 527


@dataclass(frozen=True, kw_only=True)
class ScoreCaptionerConfig:
    """Shape of the captioner."""

    vocabulary_size: int
    width: int = 256
    heads: int = 4
    layers: int = 2
    feed_forward: int = 768
    dropout: float = 0.1
    named: int = 24
    """Classes that get a memory token of their own: those with the largest scores."""
    overall: int = 2
    """Memory tokens made of all scores at once."""
    max_tokens: int = 20
    """Most tokens of a caption, the end token included."""


class ScoreMemory(nn.Module):
    """Logits (B, 527) → memory (B, overall + named, width)."""

    def __init__(self, config: ScoreCaptionerConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.classes = nn.Embedding(CLASSES, width)
        nn.init.normal_(self.classes.weight, std=0.5)
        self.level = nn.Sequential(nn.Linear(3, 64), nn.GELU(), nn.Linear(64, width))
        self.overall = nn.Sequential(nn.Linear(CLASSES, 256), nn.GELU(), nn.Linear(256, config.overall * width))
        self.mix = nn.TransformerEncoderLayer(
            width, config.heads, config.feed_forward, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, logits: Tensor) -> Tensor:
        """The strongest classes by name, weighed by their scores, and a summary of all."""
        logits = logits.clamp(-9.0, 5.0)
        strongest, classes = logits.topk(self.config.named, dim=1)
        scores = torch.sigmoid(strongest)
        level = torch.stack([strongest / 4 + 1, scores, (strongest - strongest[:, :1]) / 4], dim=2)
        named = self.classes(classes) * scores.sqrt()[..., None] + self.level(level)
        overall = self.overall(torch.sigmoid(logits).sqrt() * 2 - 0.2)
        overall = overall.view(len(logits), self.config.overall, self.config.width)
        return torch.as_tensor(self.norm(self.mix(torch.cat([overall, named], dim=1))))


class ScoreCaptioner(nn.Module):
    """Scores and the words so far in, logits of the next word out."""

    def __init__(self, config: ScoreCaptionerConfig) -> None:
        super().__init__()
        self.config = config
        self.scores = ScoreMemory(config)
        self.decoder = CaptionDecoder(
            memory_dim=config.width,
            vocabulary_size=config.vocabulary_size,
            d_model=config.width,
            heads=config.heads,
            layers=config.layers,
            feed_forward=config.feed_forward,
            dropout=config.dropout,
        )

    def memory(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Tag logits (B, 527) → memory (B, S, width) and its length (B,), always S."""
        memory = self.scores(logits)
        return memory, torch.full((len(memory),), memory.shape[1], device=memory.device)

    def forward(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Teacher forcing: tag logits (B, 527), `tokens` (B, N) → (B, N, vocabulary)."""
        memory, length = self.memory(logits)
        return torch.as_tensor(self.decoder(tokens, memory, length))

    @torch.inference_mode()
    def captions(self, logits: Tensor, beam: int) -> list[list[int]]:
        """Captions by beam search, best first: tag logits (527,) → token ids without start and end. In eval mode only.

        The search is the runtime's, as for a student.
        """
        memory, length = self.memory(logits[None].to(self.decoder.embedding.weight.device))
        steps = CachedSteps(self.decoder, memory, length, self.config.max_tokens)
        found = beam_search(steps, beam=beam, max_tokens=self.config.max_tokens, start=START, end=END)
        return [[token for token in hypothesis.tokens if token != END] for hypothesis in found]
