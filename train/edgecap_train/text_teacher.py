"""The teacher that learns from text alone: captions joined with labels, and label scores as a tagger would give them.

No sound passes here. Each step draws fresh scores for the labels of each caption (`edgecap_train.score_noise`), so that
what is learnt in training is what the tagger will give in use.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from edgecap.errors import CheckpointError
from edgecap_train.captions import PAD, START, Encoder, LabelledCaption
from edgecap_train.losses import caption_loss
from edgecap_train.score_captioner import ScoreCaptioner, ScoreCaptionerConfig
from edgecap_train.score_noise import NoiseConfig, ScoreSimulator
from edgecap_train.trainer import TrainingError

log = logging.getLogger(__name__)
_METADATA = "edgecap-score-captioner"


@dataclass(frozen=True, kw_only=True)
class TextRecipe:
    """One training run of the captioner that reads scores."""

    name: str = "text-teacher"
    seed: int = 1
    steps: int = 4_000
    batch: int = 128
    rate: float = 1e-3
    last_rate: float = 0.02
    """Learning rate at the end, as a share of the peak (cosine decay)."""
    warm_up: int = 300
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    label_smoothing: float = 0.1
    rarity: float = 0.4
    """A caption is drawn in proportion to (captions that have its rarest label) to minus this power; 0 draws evenly.
    Two thirds of the captions are of people speaking; a cow has two dozen."""
    average: float = 0.998
    """Decay of the weight average that is kept."""
    bf16: bool = True
    save_every: int = 500
    noise: NoiseConfig = field(default_factory=NoiseConfig)


@dataclass(frozen=True)
class Example:
    """A caption as the decoder learns it."""

    tokens: tuple[int, ...]
    """The end token last."""
    labels: tuple[int, ...]
    """Classes of its clip."""


def examples(captions: Sequence[LabelledCaption], classes: Sequence[str], encoder: Encoder) -> list[Example]:
    """The captions that the vocabulary can write and that have a label which the tagger knows."""
    column = {name: index for index, name in enumerate(classes)}
    found = []
    for caption in captions:
        tokens = encoder.encode(caption.words, ScoreCaptionerConfig.max_tokens)
        labels = tuple(column[label] for label in caption.labels if label in column)
        if tokens and labels:
            found.append(Example(tuple(tokens), labels))
    if not found:
        raise TrainingError("no caption has both a label of the tagger and words of the vocabulary; name another table")
    return found


class TextTrainer:
    """One run: examples in, `teacher.safetensors` out; a run started again goes on where it last saved."""

    def __init__(
        self, recipe: TextRecipe, data: Sequence[Example], simulator: ScoreSimulator, vocabulary: tuple[str, ...],
        folder: Path,
    ) -> None:  # fmt: skip
        self.recipe, self.data, self.simulator, self.folder = recipe, data, simulator, folder
        self.vocabulary, self._chance = vocabulary, _chances(data, recipe.rarity)
        torch.manual_seed(recipe.seed)
        self.captioner = ScoreCaptioner(ScoreCaptionerConfig(vocabulary_size=len(vocabulary)))
        self.average = torch.optim.swa_utils.AveragedModel(self.captioner, avg_fn=self._averaged)
        self.optimizer = torch.optim.AdamW(
            self.captioner.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
        )
        self.step = 0

    def run(self, progress: Callable[[int, float], None], evaluate: Callable[[ScoreCaptioner], None]) -> None:
        """Train to the last step; `progress` is told (steps done, loss), `evaluate` gets the average at every save."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "recipe.json").write_bytes(msgspec.json.format(msgspec.json.encode(self.recipe), indent=2))
        self._resume()
        losses: list[float] = []
        while self.step < self.recipe.steps:
            losses.append(self._learn())
            self.step += 1
            if self.step % 50 == 0:
                mean = float(np.mean(losses))
                with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"step": self.step, "caption": mean}) + "\n")
                progress(self.step, mean)
                losses = []
            if self.step % self.recipe.save_every == 0 or self.step == self.recipe.steps:
                self._save()
                evaluate(self.averaged())

    def averaged(self) -> ScoreCaptioner:
        """The weight average, in eval mode."""
        module = self.average.module
        assert isinstance(module, ScoreCaptioner)
        return module.eval()

    def _learn(self) -> float:
        # everything random of a step comes from its number, so that a run that goes on learns the same
        rng = np.random.default_rng((self.recipe.seed, self.step))
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)
        self.simulator.rng = rng
        chosen = [self.data[index] for index in rng.choice(len(self.data), self.recipe.batch, p=self._chance)]
        scores = torch.from_numpy(np.stack([self.simulator.draw(example.labels) for example in chosen]))
        inputs, targets = _padded([example.tokens for example in chosen])
        done = self.step / self.recipe.steps
        share = self.recipe.last_rate + (1 - self.recipe.last_rate) * 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate * share * min(1.0, (self.step + 1) / self.recipe.warm_up)
        self.captioner.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bf16):
            logits = self.captioner(scores, inputs)
        loss = caption_loss(logits, targets, self.recipe.label_smoothing)
        if not bool(torch.isfinite(loss)):
            raise TrainingError(f"the loss is not a number at step {self.step}; lower the learning rate")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.captioner.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        self.average.update_parameters(self.captioner)
        return float(loss.detach())

    def _averaged(self, average: Tensor, latest: Tensor, count: Tensor | int) -> Tensor:
        """A moving average that is short at first, so that it forgets the untrained weights."""
        return average.lerp(latest, 1 - min(self.recipe.average, (1 + int(count)) / (10 + int(count))))

    def _save(self) -> None:
        save_captioner(self.folder / "teacher.safetensors", self.averaged(), self.vocabulary)
        state = {
            "step": self.step, "captioner": self.captioner.state_dict(), "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        partial = self.folder / "last.pt.partial"
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.folder / "last.pt")

    def _resume(self) -> None:
        path = self.folder / "last.pt"
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        self.step = state["step"]
        self.captioner.load_state_dict(state["captioner"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        log.info("going on from step %d", self.step)


def save_captioner(path: Path, captioner: ScoreCaptioner, vocabulary: tuple[str, ...]) -> None:
    """Weights, shape and vocabulary in one safetensors file."""
    metadata = {_METADATA: json.dumps({"config": asdict(captioner.config), "vocabulary": vocabulary})}
    partial = path.with_name(path.name + ".partial")
    save_file({name: tensor.contiguous() for name, tensor in captioner.state_dict().items()}, partial, metadata)
    partial.replace(path)


def load_captioner(path: Path) -> tuple[ScoreCaptioner, tuple[str, ...]]:
    """The captioner in eval mode and its vocabulary. Raises CheckpointError."""
    try:
        with safe_open(path, "pt") as file:
            document = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = msgspec.convert(document.get("config"), ScoreCaptionerConfig)
        captioner = ScoreCaptioner(config)
        captioner.load_state_dict(tensors)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is no captioner of tag scores ({error}); make one with: edgecap train "
                              "teacher") from error
    return captioner.eval(), tuple(document["vocabulary"])


def _chances(data: Sequence[Example], rarity: float) -> NDArray[np.float64]:
    """Probability of each example in a draw."""
    counts = Counter(label for example in data for label in set(example.labels))
    rarest = np.array([min(counts[label] for label in example.labels) for example in data], np.float64)
    weights = rarest**-rarity
    return np.asarray(weights / weights.sum())


def _padded(captions: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """What the decoder reads and what it must say, (B, N) each."""
    longest = max(map(len, captions))
    rows = [[*ids, *[PAD] * (longest - len(ids))] for ids in captions]
    targets = torch.tensor(rows)
    inputs = torch.cat([torch.full((len(rows), 1), START), targets[:, :-1]], dim=1)
    return inputs, targets
