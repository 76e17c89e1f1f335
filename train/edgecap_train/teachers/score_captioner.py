"""A captioner that reads tag scores: a few tokens of memory computed from the scores, and the student's own decoder.

The teacher that learns from text alone; `edgecap_train.teacher_training.text_teacher` trains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from edgecap.errors import CheckpointError
from edgecap.inference.decoding import beam_search
from edgecap.util.documents import from_json
from edgecap.util.files import to_json, write_atomically
from edgecap.util.limits import check_transformer
from edgecap.util.limits.bounded import Heads, Layers, Tokens, Width, Words
from edgecap.util.schema import convert
from edgecap_train.models.decoder import CaptionDecoder
from edgecap_train.models.search import CachedSteps
from edgecap_train.text.captions import without_echo
from edgecap_train.text.lexicon import ClaimCheck
from edgecap_train.text.tokenizer import END, START

CLASSES = 527
METADATA_KEY = "edgecap-score-captioner"
BEAM = 6
"""Of `ScoreWriter`: twice the published beam, so that the claims have something to choose from."""


@dataclass(frozen=True, kw_only=True)
class ScoreCaptionerConfig:
    """Shape of the captioner."""

    vocabulary_size: Words
    width: Width = 256
    heads: Heads = 4
    layers: Layers = 2
    feed_forward: Width = 768
    dropout: float = 0.1
    named: Width = 24
    """Classes that get a memory token of their own: those with the largest scores."""
    overall: Layers = 2
    """Memory tokens computed from all scores at once."""
    max_tokens: Tokens = 20
    """Most tokens of a caption, the end token included."""

    def __post_init__(self) -> None:
        check_transformer(self.vocabulary_size, self.width, self.layers, self.feed_forward)


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

    def captions(self, logits: Tensor, beam: int) -> list[list[int]]:
        """Captions by beam search, best first: tag logits (527,) → token ids without start and end."""
        return [tokens for tokens, _ in self.scored_captions(logits, beam)]

    @torch.inference_mode()
    def scored_captions(self, logits: Tensor, beam: int) -> list[tuple[list[int], float]]:
        """The same with the score of each, the mean log-probability of its tokens. In eval mode only.

        The search is the runtime's, as for a student.
        """
        memory, length = self.memory(logits[None].to(self.decoder.embedding.weight.device))
        steps = CachedSteps(self.decoder, memory, length, self.config.max_tokens)
        hypotheses = beam_search(steps, beam=beam, max_tokens=self.config.max_tokens, start=START, end=END)
        return [([token for token in item.tokens if token != END], item.score) for item in hypotheses]


def save_captioner(path: Path, captioner: ScoreCaptioner, vocabulary: Sequence[str]) -> None:
    """Weights, shape and vocabulary in one safetensors file, whole or not at all. Raises OutputError."""
    metadata = {METADATA_KEY: to_json({"config": asdict(captioner.config), "vocabulary": list(vocabulary)})}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in captioner.state_dict().items()}
    write_atomically(path, save(tensors, metadata))


def load_captioner(path: Path) -> tuple[ScoreCaptioner, tuple[str, ...]]:
    """The captioner in eval mode and its vocabulary. Raises CheckpointError."""
    try:
        with safe_open(path, "pt") as file:
            document = from_json((file.metadata() or {}).get(METADATA_KEY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        captioner = ScoreCaptioner(convert(document.get("config"), ScoreCaptionerConfig))
        captioner.load_state_dict(tensors)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is not a captioner of tag scores ({error}); make one with: edgecap train teacher tagger"
        ) from error
    return captioner.eval(), tuple(document["vocabulary"])


class ScoreWriter:
    """Tag scores to sentences: the captioner's beams without echoes, those with supported claims first."""

    def __init__(self, captioner: ScoreCaptioner, vocabulary: Sequence[str], claims: ClaimCheck) -> None:
        """`captioner` in eval mode; `vocabulary`: its words, index = id."""
        self.captioner, self.vocabulary, self.claims = captioner, vocabulary, claims

    @classmethod
    def load(cls, path: Path, classes: Sequence[str]) -> ScoreWriter:
        """From the file that `edgecap train teacher tagger` wrote; `classes` in the tagger's order.

        Raises CheckpointError.
        """
        captioner, vocabulary = load_captioner(path)
        return cls(captioner, vocabulary, ClaimCheck(classes))

    def captions(self, logits: Tensor, most: int) -> list[tuple[str, ...]]:
        """At most `most` different captions of tag logits (classes,), best first, false ones after all others."""
        sentences = [words for words, _ in self.beams(logits)]
        scores = torch.sigmoid(logits).numpy()
        return sorted(sentences, key=lambda words: self.claims.is_false(words, scores))[:most]

    def beams(self, logits: Tensor) -> list[tuple[tuple[str, ...], float]]:
        """The different captions of tag logits (classes,) without echoes, best first, and the score of each."""
        beams: dict[tuple[str, ...], float] = {}
        for tokens, score in self.captioner.scored_captions(logits, BEAM):
            if words := without_echo(tuple(self.vocabulary[token] for token in tokens)):
                beams.setdefault(words, score)
        return list(beams.items())
