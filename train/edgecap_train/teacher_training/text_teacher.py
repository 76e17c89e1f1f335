"""The teacher that learns from text alone: captions joined with labels, and label scores as a tagger would give them.

No sound is needed. Each step draws fresh scores for the labels of each caption
(`edgecap_train.teacher_training.score_noise`), so that what is read in training resembles what the tagger will give.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgecap.errors import TrainingDataError
from edgecap_train.data.batches import StreamState, own_rows
from edgecap_train.distill.losses import caption_losses
from edgecap_train.teacher_training.score_noise import NoiseConfig, ScoreSimulator
from edgecap_train.teachers.score_captioner import ScoreCaptioner, ScoreCaptionerConfig, save_captioner
from edgecap_train.text.captions import LabelledCaption
from edgecap_train.text.tokenizer import END, PAD, START, Tokenizer, padded
from edgecap_train.training.distributed import accelerator
from edgecap_train.training.objective import Objective, Parts, Rows
from edgecap_train.training.precision import mixed_precision
from edgecap_train.training.recipe import BatchSize, Count, OptimizerRecipe, RunRecipe, Share, Weight


@dataclass(frozen=True, kw_only=True)
class TextOptimizer(OptimizerRecipe):
    """The defaults of the captioner of scores; the encoder's rate is that of its reading of scores."""

    steps: Count = 4_000
    batch: BatchSize = 128
    encoder_rate: Weight = 1e-3
    weight_decay: Weight = 0.02
    second_moment: Share = 0.98
    average: Share = 0.998


@dataclass(frozen=True, kw_only=True)
class TextRecipe(RunRecipe):
    """One training run of the captioner that reads scores."""

    name: str = "text-teacher"
    label_smoothing: Share = 0.1
    rarity: Weight = 0.4
    """A caption is drawn in proportion to (captions that have its rarest label) to minus this power; 0 draws evenly.
    Two thirds of the captions are of people speaking; two dozen are of a cow."""
    optimizer: TextOptimizer = field(default_factory=TextOptimizer)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    save_every: Count = 500


@dataclass(frozen=True)
class Example:
    """A caption as the decoder learns it."""

    tokens: tuple[int, ...]
    """The end token last."""
    labels: tuple[int, ...]
    """Classes of its clip."""


@dataclass(frozen=True)
class TextBatch:
    """One step's captions for this process, on the CPU."""

    scores: Tensor
    """(B, 527) simulated logits."""
    tokens: Tensor
    """(B, N), the start token first: what the decoder reads."""
    targets: Tensor
    """(B, N), the end token last: what it has to predict."""
    clips: tuple[str, ...]
    """The captions."""
    state: StreamState


def examples(captions: Sequence[LabelledCaption], classes: Sequence[str], tokenizer: Tokenizer) -> list[Example]:
    """The captions that the vocabulary can write and that have a label which the tagger knows.

    Raises TrainingDataError where there is none.
    """
    column = {name: index for index, name in enumerate(classes)}
    usable = []
    for caption in captions:
        tokens = tokenizer.encode(caption.words, ScoreCaptionerConfig.max_tokens)
        labels = tuple(column[label] for label in caption.labels if label in column)
        if tokens and labels:
            usable.append(Example(tuple(tokens), labels))
    if not usable:
        raise TrainingDataError(
            "no caption has both a label of the tagger and words of the vocabulary; name another table with --captions"
        )
    return usable


class TextStream:
    """Batches of captions with simulated scores; each is drawn from the seed and the number of its step alone."""

    def __init__(
        self,
        data: Sequence[Example],
        simulator: ScoreSimulator,
        vocabulary: Sequence[str],
        recipe: TextRecipe,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """`part` is (this process, all of them). Raises RecipeError where they cannot share a batch."""
        self.data, self.simulator, self.vocabulary = data, simulator, vocabulary
        self.seed, self.size = recipe.seed, recipe.optimizer.batch
        self.rows = own_rows(self.size, part)
        self.chances = draw_chances(data, recipe.rarity)

    def batches(self, start: StreamState | None = None) -> Iterator[TextBatch]:
        """Endless batches, the first of the step in `start`."""
        step = int(start["step"]) if start else 0
        while True:
            yield self._batch(step)
            step += 1

    def _batch(self, step: int) -> TextBatch:
        rng = np.random.default_rng((self.seed, step))
        self.simulator.rng = rng
        chosen = [self.data[index] for index in rng.choice(len(self.data), self.size, p=self.chances)]
        scores = np.stack([self.simulator.draw(example.labels) for example in chosen])
        own = [chosen[row] for row in self.rows]
        targets = torch.tensor(padded([example.tokens for example in own], PAD))
        tokens = torch.cat([torch.full((len(own), 1), START), targets[:, :-1]], dim=1)
        texts = (" ".join(self.vocabulary[token] for token in example.tokens if token != END) for example in own)
        return TextBatch(torch.from_numpy(scores[list(self.rows)]), tokens, targets, tuple(texts), {"step": step + 1})


class TextLoss(Objective):
    """Cross-entropy on captions, read off scores."""

    def __init__(self, captioner: ScoreCaptioner, smoothing: float, *, bf16: bool) -> None:
        super().__init__()
        self.captioner, self.smoothing, self.bf16 = captioner, smoothing, bf16

    def apart(self, scores: Tensor, tokens: Tensor, targets: Tensor) -> tuple[Parts, Rows]:
        """The sum over tokens, and their number; shapes as in `TextBatch`."""
        with mixed_precision(scores.device.type, bf16=self.bf16):
            logits = self.captioner(scores, tokens)
        losses = caption_losses(logits, targets, self.smoothing)
        return {"caption": (losses.sum(), (targets != PAD).sum().float())}, ()


class TextTask:
    """The captioner of tag scores; see `edgecap_train.training.trainer.Task`. The last average is kept."""

    keeps_best = False

    def __init__(
        self,
        recipe: TextRecipe,
        stream: TextStream,
        path: Path,
        evaluate: Callable[[ScoreCaptioner], dict[str, float]],
        config: ScoreCaptionerConfig | None = None,
    ) -> None:
        """`path`: the captioner's file, `teacher.safetensors`; `config`: another shape than the default one."""
        torch.manual_seed(recipe.seed)
        self.network = ScoreCaptioner(config or ScoreCaptionerConfig(vocabulary_size=len(stream.vocabulary)))
        self.network.to(accelerator().device)
        self.heads, self.stream, self.path, self.evaluate = nn.Module(), stream, path, evaluate
        self.objective: Objective = TextLoss(self.network, recipe.label_smoothing, bf16=recipe.optimizer.bf16)

    def parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """What reads scores, and the decoder."""
        return list(self.network.scores.parameters()), list(self.network.decoder.parameters())

    def inputs(self, batch: TextBatch, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, tokens and targets on the device."""
        device = accelerator().device
        return batch.scores.to(device), batch.tokens.to(device), batch.targets.to(device)

    def save(self, captioner: ScoreCaptioner, scores: dict[str, float]) -> None:
        """Write the captioner with its vocabulary."""
        save_captioner(self.path, captioner, self.stream.vocabulary)


def draw_chances(data: Sequence[Example], rarity: float) -> NDArray[np.float64]:
    """Probability of each example in a draw."""
    counts = Counter(label for example in data for label in set(example.labels))
    rarest = np.array([min(counts[label] for label in example.labels) for example in data], np.float64)
    weights = rarest**-rarity
    return np.asarray(weights / weights.sum())
