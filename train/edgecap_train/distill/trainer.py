"""The training loop: batches and a recipe in, a student out; on one process or, through Accelerate, on many.

Everything random in a step follows from the seed and the step, and a checkpoint holds where the data stood, so a run
that is killed and started again in the same folder repeats the losses of one that was not, number by number. Several
processes share each batch and add their losses up before dividing, so they learn what one process would from the same
batch (dropout and BatchNorm statistics excepted, which are each process's own).
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from edgecap.errors import TrainingError
from edgecap_train.data.batches import Batch, ReadAhead, ShardStream, Stream, StreamState, shard_folders
from edgecap_train.data.shards import CLASSES, EMBEDDING
from edgecap_train.distill.augment import Augment, AugmentedBatch, Draws, Retag
from edgecap_train.distill.distillation_loss import Objective
from edgecap_train.distill.distributed import process_index
from edgecap_train.distill.losses import ClipLoss, TeachingHeads
from edgecap_train.distill.recipe import TrainingRecipe
from edgecap_train.distill.run_folder import RunFolder
from edgecap_train.models.student import Student

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["ShardStream", "Trainer", "TrainingError", "accelerator", "shard_folders", "teaching_heads"]
log = logging.getLogger(__name__)
NAMED_CLIPS = 4
"""Clips named of a batch whose loss is not a number."""
Listen = Callable[[Batch, Draws], AugmentedBatch]
Network = TypeVar("Network", bound=nn.Module)
"""A student, or another network with an `encoder` and a `decoder`."""


class Trainer(Generic[Network]):
    """One run of one recipe."""

    def __init__(  # noqa: PLR0917
        self,
        recipe: TrainingRecipe,
        student: Network,
        heads: nn.Module,
        stream: Stream,
        folder: Path,
        evaluate: Callable[[Network], dict[str, float]],
        save: Callable[[Network, dict[str, float]], None],
        *,
        listen: Listen | None = None,
        objective: nn.Module | None = None,
        retag: Retag | None = None,
    ) -> None:
        """`evaluate` scores the averaged student (its "cider_d" decides), `save` keeps it; only the main process asks.

        `listen` turns a batch into what the student takes, where the stream does not hold samples. `objective` takes
        the place of the student's losses for a network of another kind, whose parts are called the same. `retag` as in
        `Augment`.
        """
        self.recipe, self.student, self.heads, self.stream = recipe, student, heads, stream
        if isinstance(stream, ShardStream) and stream.size != recipe.optimizer.batch:
            raise TrainingError(
                f"the stream gives {stream.size} clips a batch where the recipe wants {recipe.optimizer.batch}"
            )
        self.evaluate, self.save = evaluate, save
        self.accelerator = accelerator()
        device = self.accelerator.device
        if objective is None:
            losses = cast(TeachingHeads, heads)
            objective = Objective(_student(student), losses, recipe.loss, bf16=recipe.optimizer.bf16)
        objective = objective.to(device)
        encoder, decoder = cast(nn.Module, student.encoder), cast(nn.Module, student.decoder)
        optimizer = recipe.optimizer
        groups = [
            {"params": [p for p in encoder.parameters() if p.requires_grad], "peak": optimizer.encoder_rate},
            {"params": [*decoder.parameters(), *heads.parameters()], "peak": optimizer.decoder_rate},
        ]
        self.optimizer: torch.optim.Optimizer
        adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=0.0, weight_decay=optimizer.weight_decay
        )
        self.objective, self.optimizer = self.accelerator.prepare(objective, adamw)
        self.average = torch.optim.swa_utils.AveragedModel(student, multi_avg_fn=self._averaged)
        self.folder = RunFolder(folder, writes=self.accelerator.is_main_process)
        if listen is None:
            assert isinstance(stream, ShardStream) or hasattr(stream, "labelled")
            words, config = cast(ShardStream, getattr(stream, "labelled", stream)).encoder, _student(student).config
            hearing = Augment(config.front_end, recipe.augment, words, config.max_tokens, retag).to(device)
            listen = self._listener(hearing, _student(student))
        self.listen = listen
        self.step, self.best = 0, -1.0
        self.place: StreamState | None = None
        self._sums: dict[str, float] = {}

    def run(self) -> None:
        """Train to the recipe's last step, evaluating and saving on the way.

        Raises TrainingError for a loss that is not a number, OutputError for a full disk; the last checkpoint stays.
        """
        recipe = self.recipe
        self.folder.begin(recipe, self.accelerator.device, self.accelerator.num_processes)
        self._resume()
        if self.step >= recipe.optimizer.steps:
            return
        batches = ReadAhead(self.stream, self.place)
        try:
            with self._progress() as shown:
                started, waited, since = time.monotonic(), 0.0, self.step
                for batch in batches:
                    for name, value in self._learn(batch).items():
                        self._sums[name] = self._sums.get(name, 0.0) + value
                    self.step, self.place = self.step + 1, batch.state
                    last = self.step >= recipe.optimizer.steps
                    if self.step % recipe.record_every == 0:
                        self._record(time.monotonic() - started, batches.waited - waited, self.step - since)
                        started, waited, since = time.monotonic(), batches.waited, self.step
                    shown(self.step)
                    if self.step % recipe.evaluate_every == 0 or last:
                        self._evaluate()
                        started, waited = time.monotonic(), batches.waited
                    if self.step % recipe.save_every == 0 or self.step % recipe.evaluate_every == 0 or last:
                        self._save()
                    if last:
                        return
        finally:
            batches.close()
            self.folder.close()

    @property
    def clips(self) -> int:
        """Clips of a step, of all processes."""
        return self.recipe.optimizer.batch + self.recipe.optimizer.audio_only

    def _learn(self, batch: Batch) -> dict[str, float]:
        recipe = self.recipe
        torch.manual_seed((((recipe.seed << 32) + self.step) * 64 + process_index()) % 2**63)
        self._schedule()
        self.objective.train()
        draws = Draws(recipe.seed, self.step, self.clips, batch.rows)
        heard = self.listen(batch, draws)
        parts = self.objective(heard, draws, self.step < recipe.optimizer.encoder_alone)
        names = list(parts)
        mine = torch.stack([torch.stack((parts[name][0].detach(), parts[name][1].detach())) for name in names])
        everyone = self.accelerator.reduce(mine, "sum")
        counts = everyone[:, 1].clamp(min=1.0)
        # gradients are averaged over the processes, sums are wanted
        total = torch.stack([parts[name][0] / count for name, count in zip(names, counts, strict=True)]).sum()
        total = total * self.accelerator.num_processes
        values = dict(zip(names, (everyone[:, 0] / counts).tolist(), strict=True))
        if not math.isfinite(sum(values.values())):
            self._stop(values, batch, "loss")
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(total)
        norm = float(
            self.accelerator.clip_grad_norm_(
                [p for group in self.optimizer.param_groups for p in group["params"]], recipe.optimizer.clip_norm
            )
        )
        if not math.isfinite(norm):
            self._stop(values, batch, "gradient")
        self.optimizer.step()
        self.average.update_parameters(self.student)
        told = {name: value for name, value in values.items() if everyone[names.index(name), 1] > 0}
        return told | {"norm": norm}

    def _stop(self, values: dict[str, float], batch: Batch, what: str) -> None:
        parts = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        clips = ", ".join(batch.clips[:NAMED_CLIPS])
        more = f" and {len(batch.clips) - NAMED_CLIPS} more" if len(batch.clips) > NAMED_CLIPS else ""
        raise TrainingError(
            f"the {what} is not a number at step {self.step} ({parts}) with the clips {clips}{more}; "
            "the last checkpoint is kept: look at those clips, or lower the learning rate"
        )

    def _listener(self, hearing: Augment, student: Student) -> Listen:
        return lambda batch, draws: cast(AugmentedBatch, hearing(batch, draws, student.memory_length))

    def _schedule(self) -> None:
        """Linear warm-up, then a cosine to the last rate."""
        optimizer = self.recipe.optimizer
        done = min(1.0, self.step / optimizer.steps)
        share = optimizer.last_rate + (1 - optimizer.last_rate) * 0.5 * (1 + math.cos(math.pi * done))
        share *= min(1.0, (self.step + 1) / max(1, optimizer.warm_up))
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share

    @torch.no_grad()
    def _averaged(
        self,
        averages: list[Tensor] | tuple[Tensor, ...],
        latest: list[Tensor] | tuple[Tensor, ...],
        count: Tensor | int,
    ) -> None:
        """Exponential moving average whose memory grows with the run, so that it forgets the untrained weights."""
        decay = min(self.recipe.optimizer.average, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averages, latest, 1 - decay)

    def _record(self, seconds: float, waited: float, steps: int) -> None:
        """Write the means since the last line, the rate, and the share of the time that the model waited for data."""
        if steps <= 0:
            return
        values = {name: value / self.recipe.record_every for name, value in self._sums.items()}
        values |= {
            "rate": self.optimizer.param_groups[-1]["lr"],
            "clips_per_second": steps * self.clips / seconds,
            "waiting": waited / seconds,
        }
        self._sums = {}
        self.folder.record(self.step, values)
        log.info("step %d %s", self.step, " ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def _evaluate(self) -> None:
        if self.accelerator.is_main_process:
            averaged = cast(Network, self.average.module.eval())
            scores = self.evaluate(averaged)
            self.folder.record(self.step, scores)
            log.info("step %d %s", self.step, " ".join(f"{name} {value:.4g}" for name, value in scores.items()))
            if scores["cider_d"] > self.best:
                self.best = scores["cider_d"]
                self.save(averaged, scores)
        self.accelerator.wait_for_everyone()

    def _save(self) -> None:
        self.folder.save(
            {
                "step": self.step,
                "best": self.best,
                "place": self.place,
                "sums": self._sums,
                "student": self.student.state_dict(),
                "heads": self.heads.state_dict(),
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
        self.step, self.best = state["step"], state["best"]
        self.place, self._sums = state.get("place"), state.get("sums", {})
        self.student.load_state_dict(state["student"])
        self.heads.load_state_dict(state["heads"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        log.info("going on from step %d", self.step)

    @contextmanager
    def _progress(self) -> Iterator[Callable[[int], None]]:
        """A bar on a terminal's standard error."""
        if not (self.accelerator.is_main_process and sys.stderr.isatty()):
            yield lambda step: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        ) as progress:
            task = progress.add_task(self.recipe.name, total=self.recipe.optimizer.steps, completed=self.step)
            yield lambda step: progress.update(task, completed=step)


def _student(network: nn.Module) -> Student:
    assert isinstance(network, Student)
    return network


def accelerator() -> Accelerator:
    """Accelerate's view of this process and its device: a GPU where there is one."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[unused])


def teaching_heads(student: Student, recipe: TrainingRecipe, width: int = EMBEDDING) -> TeachingHeads:
    """Fresh heads for a student and a recipe; `width` of the teacher's frames."""
    loss = recipe.loss
    clip = ClipLoss(student.dim, width, loss.clip_kind, loss.exponentiate_scale) if loss.clip else None
    return TeachingHeads(student.dim, CLASSES, width, clip)
