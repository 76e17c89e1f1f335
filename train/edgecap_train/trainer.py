"""The training loop: shards and a recipe in, a student out.

A run folder holds `recipe.json`, `metrics.jsonl`, `last.pt` (everything needed to go on) and
`student.safetensors` (the averaged weights that scored best). A run that is started again in the
same folder goes on where its last save was.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import torch
from torch import Tensor

from edgecap.errors import EdgecapError
from edgecap.frontend import FrontEnd
from edgecap_train.captions import PAD, START, Encoder
from edgecap_train.frontend import LogMel
from edgecap_train.losses import ClipLoss, TeachingHeads, caption_loss, frame_loss, tag_loss
from edgecap_train.recipe import AugmentRecipe, Recipe
from edgecap_train.student import Student
from edgecap_train.targets import CLASSES, EMBEDDING, MEMORY_FRAMES, Shard, read_shard

log = logging.getLogger(__name__)


class TrainingError(EdgecapError):
    """Training cannot go on: no data, or a loss that is not a number."""


@dataclass(frozen=True)
class Batch:
    """One step's worth of scenes."""

    samples: Tensor
    """(B, n) float32."""
    lengths: Tensor
    """(B,) samples that are not padding."""
    frames: Tensor
    """(B, 32, 384) teacher frames."""
    logits: Tensor
    """(B, 527) teacher tags."""
    captions: list[list[list[int]]]
    """Token ids of each clip's captions, the best first; the end token is last."""


def shard_folders(folder: Path) -> list[Path]:
    """The complete shards of a folder, by name. Raises TrainingError where there is none."""
    inside = folder.iterdir() if folder.is_dir() else ()
    names = [path for path in inside if path.is_dir() and path.suffix != ".partial"]
    if not names:
        raise TrainingError(f"{folder} holds no shards; type: edgecap train scenes -o {folder.parent} …")
    return sorted(names)


class ShardStream:
    """Batches drawn at random from the shards of a folder; shards that appear later are found."""

    def __init__(self, folder: Path, encoder: Encoder, max_tokens: int, rng: np.random.Generator) -> None:
        self.folder, self.encoder, self.max_tokens, self.rng = folder, encoder, max_tokens, rng

    def batches(self, size: int) -> Iterator[Batch]:
        """Endless batches; four shards are mixed at a time, each read once before the folder is looked at again."""
        while True:
            names = shard_folders(self.folder)
            order = [names[i] for i in self.rng.permutation(len(names))]
            for start in range(0, len(order), 4):
                shards = [read_shard(path) for path in order[start : start + 4]]
                rows = [(shard, row) for shard in shards for row in range(len(shard.lengths))]
                shuffled = self.rng.permutation(len(rows))
                for at in range(0, len(rows) - size + 1, size):
                    yield self._batch([rows[i] for i in shuffled[at : at + size]])

    def _batch(self, rows: Sequence[tuple[Shard, int]]) -> Batch:
        def stack(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(shard, name)[row] for shard, row in rows]).astype(np.float32))

        ids = [[self.encoder.encode(words, self.max_tokens) for words in shard.texts[row]] for shard, row in rows]
        lengths = torch.tensor([int(shard.lengths[row]) for shard, row in rows])
        captions = [[caption for caption in clip if caption] for clip in ids]
        return Batch(stack("audio") / 32768.0, lengths, stack("frames"), stack("logits"), captions)


class Trainer:
    """One run of one recipe."""

    def __init__(  # noqa: PLR0917
        self, recipe: Recipe, student: Student, heads: TeachingHeads, stream: ShardStream, folder: Path,
        evaluate: Callable[[Student], dict[str, float]], save: Callable[[Student, dict[str, float]], None],
    ) -> None:  # fmt: skip
        """`evaluate` scores the averaged student (its "cider_d" decides), `save` keeps it."""
        self.recipe, self.student, self.heads, self.stream, self.folder = recipe, student, heads, stream, folder
        self.evaluate, self.save = evaluate, save
        self.log_mel = LogMel(student.config.front_end)
        self.average = torch.optim.swa_utils.AveragedModel(student, avg_fn=self._averaged)
        optimizer = recipe.optimizer
        groups = [
            {"params": [p for p in student.encoder.parameters() if p.requires_grad], "peak": optimizer.encoder_rate},
            {"params": [*student.decoder.parameters(), *heads.parameters()], "peak": optimizer.decoder_rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=optimizer.weight_decay)
        self.rng = np.random.default_rng(recipe.seed)
        self.step, self.best = 0, -1.0

    def run(self) -> None:
        """Train to the recipe's last step, evaluating and saving on the way."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "recipe.json").write_bytes(msgspec.json.format(msgspec.json.encode(self.recipe), indent=2))
        self._resume()
        sums: dict[str, float] = {}
        started, since = time.monotonic(), self.step
        for batch in self.stream.batches(self.recipe.optimizer.batch):
            for name, value in self._learn(batch).items():
                sums[name] = sums.get(name, 0.0) + value
            self.step += 1
            if self.step % 50 == 0:
                rate = (self.step - since) * self.recipe.optimizer.batch / (time.monotonic() - started)
                self._record({name: value / 50 for name, value in sums.items()} | {"clips_per_second": rate})
                sums = {}
            if self.step % self.recipe.evaluate_every == 0 or self.step == self.recipe.optimizer.steps:
                self._evaluate()
            if self.step >= self.recipe.optimizer.steps:
                return

    def _learn(self, batch: Batch) -> dict[str, float]:
        recipe, loss_recipe = self.recipe, self.recipe.loss
        self._schedule()
        self.student.train()
        samples = batch.samples * self._gain(len(batch.samples))
        with torch.no_grad():
            plain = self.log_mel(samples, batch.lengths)
            log_mel = spec_augment(plain, recipe.augment, self.rng, self.student.config.front_end)
        memory_length = self.student.memory_length(self.log_mel.frames(batch.lengths))
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.optimizer.bf16):
            memory = self.student.encode(log_mel)
        memory = memory.float()
        losses: dict[str, Tensor] = {}
        embedding = self.student.clip_embedding(memory, memory_length)
        if loss_recipe.tags:
            losses["tags"] = loss_recipe.tags * tag_loss(self.heads.tags(embedding), batch.logits)
        if loss_recipe.frames:
            shared = min(memory.shape[1], MEMORY_FRAMES)
            target = self.heads.standardise(batch.frames[:, :shared])
            ours = self.heads.frames(memory)[:, :shared]
            losses["frames"] = loss_recipe.frames * frame_loss(ours, target, memory_length)
        if loss_recipe.clip and self.heads.clip is not None:
            losses["clip"] = loss_recipe.clip * self.heads.clip(embedding, batch.frames.mean(1))
        if loss_recipe.caption:
            heard = memory.detach() if self.step < recipe.optimizer.encoder_alone else memory
            losses["caption"] = loss_recipe.caption * self._caption_loss(batch, heard, memory_length)
        total = torch.stack(list(losses.values())).sum()
        if not bool(torch.isfinite(total)):
            parts = ", ".join(f"{name} {float(value.detach()):.4g}" for name, value in losses.items())
            raise TrainingError(f"the loss is not a number at step {self.step} ({parts}); lower the learning rate")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(
            [p for group in self.optimizer.param_groups for p in group["params"]], recipe.optimizer.clip_norm
        )
        self.optimizer.step()
        self.average.update_parameters(self.student)
        return {name: float(value.detach()) for name, value in losses.items()} | {"norm": float(norm)}

    def _caption_loss(self, batch: Batch, memory: Tensor, memory_length: Tensor) -> Tensor:
        """Each clip's best caption and some of the others, against one memory of that clip."""
        rows, chosen = [], []
        for row, captions in enumerate(batch.captions):
            if not captions:
                continue
            others = self.rng.permutation(np.arange(1, len(captions)))[: self.recipe.loss.captions_per_clip - 1]
            for index in (0, *others):
                rows.append(row)
                chosen.append(captions[index])
        longest = max(map(len, chosen))
        inputs = torch.tensor([[START, *ids[:-1], *[PAD] * (longest - len(ids))] for ids in chosen])
        targets = torch.tensor([[*ids, *[PAD] * (longest - len(ids))] for ids in chosen])
        which = torch.tensor(rows)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.optimizer.bf16):
            logits = self.student.decoder(inputs, memory[which], memory_length[which])
        return caption_loss(logits, targets, self.recipe.loss.label_smoothing)

    def _schedule(self) -> None:
        """Linear warm-up, then a cosine to the last rate."""
        optimizer = self.recipe.optimizer
        done = min(1.0, self.step / optimizer.steps)
        share = optimizer.last_rate + (1 - optimizer.last_rate) * 0.5 * (1 + math.cos(math.pi * done))
        share *= min(1.0, (self.step + 1) / optimizer.warm_up)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share

    def _averaged(self, average: Tensor, latest: Tensor, count: Tensor | int) -> Tensor:
        """Exponential moving average whose memory grows with the run, so that it forgets the untrained weights."""
        decay = min(self.recipe.optimizer.average, (1 + int(count)) / (10 + int(count)))
        return average.lerp(latest, 1 - decay)

    def _gain(self, count: int) -> Tensor:
        level = self.rng.uniform(-self.recipe.augment.gain, self.recipe.augment.gain, (count, 1))
        return torch.from_numpy((10 ** (level / 20)).astype(np.float32))

    def _record(self, values: dict[str, Any]) -> None:
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": self.step, **values}) + "\n")
        log.info("step %d %s", self.step, " ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def _evaluate(self) -> None:
        averaged = cast(Student, self.average.module).eval()
        scores = self.evaluate(averaged)
        self._record(scores)
        if scores["cider_d"] > self.best:
            self.best = scores["cider_d"]
            self.save(averaged, scores)
        state = {
            "step": self.step, "best": self.best,
            "student": self.student.state_dict(), "heads": self.heads.state_dict(),
            "average": self.average.state_dict(), "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        partial = self.folder / "last.pt.partial"
        torch.save(state, partial)
        partial.replace(self.folder / "last.pt")

    def _resume(self) -> None:
        path = self.folder / "last.pt"
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        self.step, self.best = state["step"], state["best"]
        self.student.load_state_dict(state["student"])
        self.heads.load_state_dict(state["heads"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng = np.random.default_rng((self.recipe.seed, self.step))
        self.stream.rng = np.random.default_rng((self.recipe.seed, self.step, 1))
        log.info("going on from step %d", self.step)


def spec_augment(log_mel: Tensor, recipe: AugmentRecipe, rng: np.random.Generator, front_end: FrontEnd) -> Tensor:
    """Time and band masks (Park et al. 2019) of silence on some clips of `log_mel` (B, n_mels, T), in place."""
    for clip in log_mel:
        if rng.random() > recipe.chance:
            continue
        for _ in range(recipe.time_masks):
            width = int(rng.integers(recipe.time_width + 1))
            at = int(rng.integers(max(1, clip.shape[1] - width)))
            clip[:, at : at + width] = front_end.silence
        for _ in range(recipe.band_masks):
            width = int(rng.integers(recipe.band_width + 1))
            at = int(rng.integers(clip.shape[0] - width))
            clip[at : at + width] = front_end.silence
    return log_mel


def teaching_heads(student: Student, recipe: Recipe) -> TeachingHeads:
    """Fresh heads for a student and a recipe."""
    loss = recipe.loss
    clip = ClipLoss(student.dim, EMBEDDING, loss.clip_kind, loss.exponentiate_scale) if loss.clip else None
    return TeachingHeads(student.dim, CLASSES, EMBEDDING, clip)
