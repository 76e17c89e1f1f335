"""The teacher that learns from text alone: captions joined with labels, and label scores as a tagger would give them.

No sound passes here. Each step draws fresh scores for the labels of each caption
(`edgecap_train.teacher_training.score_noise`), so that what is learnt in training is what the tagger will give in
use.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edgecap.errors import CheckpointError, TrainingError
from edgecap.util.files import write_atomically
from edgecap_train.distill.distributed import process_index
from edgecap_train.distill.losses import caption_losses
from edgecap_train.distill.recipe import Count, Positive, Share, Weight, Whole
from edgecap_train.distill.run_folder import RunFolder
from edgecap_train.distill.trainer import accelerator
from edgecap_train.teacher_training.score_noise import NoiseConfig, ScoreSimulator
from edgecap_train.teachers.score_captioner import ScoreCaptioner, ScoreCaptionerConfig
from edgecap_train.text.captions import END, PAD, START, LabelledCaption, Tokenizer

log = logging.getLogger(__name__)
RECORD_EVERY = 50
"""Steps that a line of metrics averages over."""
_METADATA = "edgecap-score-captioner"


@dataclass(frozen=True, kw_only=True)
class TextRecipe:
    """One training run of the captioner that reads scores."""

    name: str = "text-teacher"
    seed: Whole = 1
    steps: Count = 4_000
    batch: Count = 128
    rate: Weight = 1e-3
    last_rate: Weight = 0.02
    """Learning rate at the end, as a share of the peak (cosine decay)."""
    warm_up: Whole = 300
    weight_decay: Weight = 0.02
    clip_norm: Positive = 1.0
    label_smoothing: Share = 0.1
    rarity: Weight = 0.4
    """A caption is drawn in proportion to (captions that have its rarest label) to minus this power; 0 draws evenly.
    Two thirds of the captions are of people speaking; a cow has two dozen."""
    average: Share = 0.998
    """Decay of the weight average that is kept."""
    bf16: bool = True
    save_every: Count = 500
    noise: NoiseConfig = field(default_factory=NoiseConfig)


@dataclass(frozen=True)
class Example:
    """A caption as the decoder learns it."""

    tokens: tuple[int, ...]
    """The end token last."""
    labels: tuple[int, ...]
    """Classes of its clip."""


def examples(captions: Sequence[LabelledCaption], classes: Sequence[str], encoder: Tokenizer) -> list[Example]:
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
    """One run: examples in, `teacher.safetensors` out; a run started again goes on where it last saved.

    Several processes share each batch, as they do in `edgecap_train.distill.trainer`.
    """

    def __init__(
        self,
        recipe: TextRecipe,
        data: Sequence[Example],
        simulator: ScoreSimulator,
        vocabulary: tuple[str, ...],
        folder: Path,
    ) -> None:
        self.recipe, self.data, self.simulator = recipe, data, simulator
        self.vocabulary, self._chance = vocabulary, _chances(data, recipe.rarity)
        self.accelerator = accelerator()
        processes = self.accelerator.num_processes
        if recipe.batch % processes:
            raise TrainingError(f"a batch of {recipe.batch} captions cannot be shared evenly by {processes} processes")
        self.folder = RunFolder(folder, writes=self.accelerator.is_main_process)
        torch.manual_seed(recipe.seed)
        self.captioner = ScoreCaptioner(ScoreCaptionerConfig(vocabulary_size=len(vocabulary)))
        self.captioner.to(self.accelerator.device)
        self.average = torch.optim.swa_utils.AveragedModel(self.captioner, avg_fn=self._averaged)
        adamw = torch.optim.AdamW(
            self.captioner.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
        )
        self.optimizer: torch.optim.Optimizer
        self.model, self.optimizer = self.accelerator.prepare(self.captioner, adamw)
        self.step = 0
        self._losses: list[float] = []
        """Since the last line of metrics."""

    def run(
        self, progress: Callable[[int, float], None], evaluate: Callable[[ScoreCaptioner], dict[str, float]]
    ) -> None:
        """Train to the last step; `progress` is told (steps done, loss), `evaluate` scores the average at every save.

        Raises TrainingError for a loss that is not a number, OutputError for a full disk; the last checkpoint stays.
        """
        recipe = self.recipe
        self.folder.begin(recipe, self.accelerator.device, self.accelerator.num_processes)
        self._resume()
        try:
            while self.step < recipe.steps:
                self._losses.append(self._learn())
                self.step += 1
                if self.step % RECORD_EVERY == 0:
                    mean = float(np.mean(self._losses))
                    self.folder.record(self.step, {"caption": mean, "rate": self.optimizer.param_groups[0]["lr"]})
                    progress(self.step, mean)
                    self._losses = []
                if self.step % recipe.save_every == 0 or self.step == recipe.steps:
                    self._save(evaluate)
        finally:
            self.folder.close()

    def averaged(self) -> ScoreCaptioner:
        """The weight average, in eval mode."""
        module = self.average.module
        assert isinstance(module, ScoreCaptioner)
        return module.eval()

    def _learn(self) -> float:
        # everything random of a step comes from its number, so that a run that goes on learns the same
        recipe, device = self.recipe, self.accelerator.device
        rng = np.random.default_rng((recipe.seed, self.step))
        torch.manual_seed((recipe.seed * 1_000_003 + self.step) * 64 + process_index())
        self.simulator.rng = rng
        chosen = [self.data[index] for index in rng.choice(len(self.data), recipe.batch, p=self._chance)]
        scores = np.stack([self.simulator.draw(example.labels) for example in chosen])
        share = recipe.batch // self.accelerator.num_processes
        mine = slice(process_index() * share, (process_index() + 1) * share)
        inputs, targets = (each.to(device) for each in _padded([example.tokens for example in chosen[mine]]))
        self._schedule()
        self.captioner.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16):
            logits = self.model(torch.from_numpy(scores[mine]).to(device), inputs)
        losses = caption_losses(logits, targets, recipe.label_smoothing)
        counted = torch.stack([losses.sum().detach(), (targets != PAD).sum().float()])
        total, words = self.accelerator.reduce(counted, "sum")
        if not bool(torch.isfinite(total)):
            self._stop("loss", chosen)
        self.optimizer.zero_grad(set_to_none=True)
        # gradients are averaged over the processes, sums are wanted
        self.accelerator.backward(losses.sum() / words * self.accelerator.num_processes)
        if not math.isfinite(float(self.accelerator.clip_grad_norm_(self.captioner.parameters(), recipe.clip_norm))):
            self._stop("gradient", chosen)
        self.optimizer.step()
        self.average.update_parameters(self.captioner)
        return float(total / words)

    def _schedule(self) -> None:
        """Linear warm-up, then a cosine to the last rate."""
        recipe = self.recipe
        done = self.step / recipe.steps
        share = recipe.last_rate + (1 - recipe.last_rate) * 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate * share * min(1.0, (self.step + 1) / max(1, recipe.warm_up))

    def _stop(self, what: str, chosen: Sequence[Example]) -> None:
        said = [" ".join(self.vocabulary[token] for token in example.tokens if token != END) for example in chosen[:3]]
        raise TrainingError(
            f"the {what} is not a number at step {self.step}, of {len(chosen)} captions from "
            f"{'; '.join(said)} on; the last checkpoint is kept: lower the learning rate"
        )

    def _averaged(self, average: Tensor, latest: Tensor, count: Tensor | int) -> Tensor:
        """A moving average that is short at first, so that it forgets the untrained weights."""
        return average.lerp(latest, 1 - min(self.recipe.average, (1 + int(count)) / (10 + int(count))))

    def _save(self, evaluate: Callable[[ScoreCaptioner], dict[str, float]]) -> None:
        if self.accelerator.is_main_process:
            scores = evaluate(self.averaged())
            if scores:
                self.folder.record(self.step, scores)
            save_captioner(self.folder.path / "teacher.safetensors", self.averaged(), self.vocabulary)
        self.folder.save(
            {
                "step": self.step,
                "losses": self._losses,
                "captioner": self.captioner.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        )
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        state = self.folder.load(self.accelerator.device)
        self.accelerator.wait_for_everyone()
        if state is None:
            return
        self.step, self._losses = state["step"], state.get("losses", [])
        self.captioner.load_state_dict(state["captioner"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        log.info("going on from step %d", self.step)


def save_captioner(path: Path, captioner: ScoreCaptioner, vocabulary: tuple[str, ...]) -> None:
    """Weights, shape and vocabulary in one safetensors file, atomic_file or not at all. Raises OutputError."""
    metadata = {_METADATA: json.dumps({"config": asdict(captioner.config), "vocabulary": vocabulary})}
    write_atomically(
        path, save({name: tensor.cpu().contiguous() for name, tensor in captioner.state_dict().items()}, metadata)
    )


def load_captioner(path: Path) -> tuple[ScoreCaptioner, tuple[str, ...]]:
    """The captioner in eval mode and its vocabulary. Raises CheckpointError."""
    try:
        with safe_open(path, "pt") as file:
            document = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        config = msgspec.convert(document.get("config"), ScoreCaptionerConfig)
        captioner = ScoreCaptioner(config)
        captioner.load_state_dict(tensors)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is no captioner of tag scores ({error}); make one with: edgecap train teacher tagger"
        ) from error
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
