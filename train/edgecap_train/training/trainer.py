"""The training loop: a task and a recipe in, a trained network out; on one process or, through Accelerate, on many.

What is learnt is a `Task`: students, HTSAT-BART and the captioner of tag scores each have one. Everything random in a
step follows from the seed and the step, and a checkpoint holds the position in the data, so a run that is killed and
started again in the same folder repeats the losses of one that was not, number by number. Several processes share each
batch and add their losses up before dividing, so they learn what one process would from the same batch, and so do
micro-batches. Dropout and BatchNorm are excepted: each process and micro-batch draws its own masks and is normalised by
its own clips; the statistics that are kept are those of the first process.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from edgecap.errors import RecipeError, TrainingError
from edgecap.util.progress import no_progress, progress_bar
from edgecap_train.data.batches import ReadAhead, Stream, StreamState, TrainingBatch, sliced
from edgecap_train.training.distributed import accelerator, from_main, process_index
from edgecap_train.training.objective import Gradients, Objective
from edgecap_train.training.recipe import RunRecipe
from edgecap_train.training.run_folder import RunFolder

log = logging.getLogger(__name__)
NAMED_CLIPS = 4
"""Clips named of a batch whose loss is not a number."""
Item = TypeVar("Item", bound=TrainingBatch)
Network = TypeVar("Network", bound=nn.Module)


class Task(Protocol[Item, Network]):
    """What a run learns."""

    @property
    def network(self) -> Network:
        """The network whose average is evaluated and saved."""

    @property
    def heads(self) -> nn.Module:
        """Parts that only training needs."""

    @property
    def objective(self) -> Objective:
        """What is minimised, of `inputs`."""

    @property
    def stream(self) -> Stream[Item]:
        """Where batches come from."""

    @property
    def keeps_best(self) -> bool:
        """Whether `save` is called for the best evaluation only, not for the last."""

    def parameters(self) -> tuple[Sequence[nn.Parameter], Sequence[nn.Parameter]]:
        """What learns at the encoder's rate and what learns at the decoder's."""

    def inputs(self, batch: Item, step: int) -> tuple[Any, ...]:
        """The objective's arguments for one batch, on the device."""

    def evaluate(self, network: Network) -> dict[str, float]:
        """Scores of the averaged network; "cider_d" decides which is best. Called by the main process only."""

    def save(self, network: Network, scores: dict[str, float]) -> None:
        """Keep the averaged network. Called by the main process only."""


class Trainer(Generic[Item, Network]):
    """One run of one recipe."""

    def __init__(self, task: Task[Item, Network], recipe: RunRecipe, folder: Path) -> None:
        """Raises RecipeError where the stream's batches are not of the recipe's size."""
        self.task, self.recipe = task, recipe
        self.accelerator = accelerator()
        optimizer = recipe.optimizer
        if task.stream.size != optimizer.clips:
            raise RecipeError(
                f"the stream gives {task.stream.size} clips a batch and the recipe wants {optimizer.clips}"
            )
        rates = (optimizer.encoder_rate, optimizer.decoder_rate)
        processes = self.accelerator.num_processes
        if optimizer.clips // processes % optimizer.accumulate:
            raise RecipeError(
                f"optimizer.accumulate is {optimizer.accumulate}, into which the {optimizer.clips // processes} clips "
                "of a process cannot be divided evenly"
            )
        groups = [
            {"params": list(parameters), "peak": rate}
            for parameters, rate in zip(task.parameters(), rates, strict=True)
            if parameters
        ]
        adamw = torch.optim.AdamW(
            groups, lr=0.0, betas=(0.9, optimizer.second_moment), weight_decay=optimizer.weight_decay
        )
        self.optimizer: torch.optim.Optimizer
        self.objective, self.optimizer = self.accelerator.prepare(task.objective.to(self.accelerator.device), adamw)
        self.gradients = Gradients(self.accelerator, task.objective, self.objective)
        self.average = torch.optim.swa_utils.AveragedModel(task.network, multi_avg_fn=self._averaged)
        self.folder = RunFolder(folder, writes=self.accelerator.is_main_process)
        self.step, self.best = 0, -1.0
        self.place: StreamState | None = None
        self._sums: dict[str, float] = {}

    @property
    def averaged(self) -> Network:
        """The weight average, in eval mode."""
        return cast(Network, self.average.module.eval())

    def run(self) -> None:
        """Train to the recipe's last step, evaluating and saving on the way.

        Raises TrainingError for a loss that is not a number or a run that cannot be resumed, OutputError for a full
        disk; the last checkpoint stays.
        """
        recipe, steps = self.recipe, self.recipe.optimizer.steps
        self.folder.begin(recipe, self.accelerator.device, self.accelerator.num_processes)
        self.resume()
        if self.step >= steps:
            return
        batches = ReadAhead(self.task.stream, self.place)
        try:
            with (
                progress_bar(recipe.name) if self.accelerator.is_main_process else nullcontext(no_progress) as progress
            ):
                started, waited, since = time.monotonic(), 0.0, self.step
                for batch in batches:
                    for name, value in self.learn(batch).items():
                        self._sums[name] = self._sums.get(name, 0.0) + value
                    self.step, self.place = self.step + 1, batch.state
                    last = self.step >= steps
                    if self.step % recipe.record_every == 0:
                        self._record(time.monotonic() - started, batches.waited - waited, self.step - since)
                        started, waited, since = time.monotonic(), batches.waited, self.step
                    progress(self.step, steps)
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

    def learn(self, batch: Item) -> dict[str, float]:
        """One step on one batch: each loss's mean over all processes, and the norm of the gradient.

        Raises TrainingError for a loss or a gradient that is not a number.
        """
        recipe = self.recipe
        self._schedule()
        self.objective.train()
        self.optimizer.zero_grad(set_to_none=True)
        size = len(batch.clips) // recipe.optimizer.accumulate
        micro_batches = [sliced(batch, slice(at, at + size)) for at in range(0, len(batch.clips), size)]
        step = self.gradients.compute([self.task.inputs(part, self.step) for part in micro_batches], self._seed)
        if not math.isfinite(sum(step.values.values())):
            self._stop(step.values, batch, "loss")
        learnt = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        norm = float(self.accelerator.clip_grad_norm_(learnt, recipe.optimizer.clip_norm))
        if not math.isfinite(norm):
            self._stop(step.values, batch, "gradient")
        self.optimizer.step()
        self.average.update_parameters(self.task.network)
        return {name: step.values[name] for name in step.counted} | {"norm": norm}

    def resume(self) -> None:
        """Take up the state that the folder holds, if any.

        Raises CheckpointError for a damaged one, TrainingError for one of another shape or version.
        """
        state = from_main(self.folder.load)
        if state is None:
            return
        try:
            self.task.network.load_state_dict(state["network"])
            self.task.heads.load_state_dict(state["heads"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.best = state["step"], state["best"]
            self.place, self._sums = state["place"], state["sums"]
        except (KeyError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:120]
            raise TrainingError(
                f"the run in {self.folder.path} cannot be resumed, its checkpoint is of another shape or version "
                f"({reason}); name another folder with --out"
            ) from error
        log.info("resumed at step %d", self.step)

    def _stop(self, values: dict[str, float], batch: Item, what: str) -> None:
        parts = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        clips = ", ".join(batch.clips[:NAMED_CLIPS])
        more = f" and {len(batch.clips) - NAMED_CLIPS} more" if len(batch.clips) > NAMED_CLIPS else ""
        raise TrainingError(
            f"the {what} is not a number at step {self.step} ({parts}) with the clips {clips}{more}; "
            "the last checkpoint is kept: look at those clips, or lower the learning rate"
        )

    def _seed(self, micro_batch: int) -> None:
        """Make dropout a function of the seed, the step, the process and the micro-batch."""
        place = (self.recipe.seed, self.step, process_index(), micro_batch)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> np.uint64(1)))

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
            "clips_per_second": steps * self.task.stream.size / seconds,
            "waiting": waited / seconds,
        }
        self._sums = {}
        self._report(values)

    def _report(self, values: dict[str, float]) -> None:
        self.folder.record(self.step, values)
        log.info("step %d %s", self.step, " ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def _evaluate(self) -> None:
        if self.accelerator.is_main_process:
            scores = self.task.evaluate(self.averaged)
            self._report(scores)
            if scores["cider_d"] > self.best or not self.task.keeps_best:
                self.best = max(self.best, scores["cider_d"])
                self.task.save(self.averaged, scores)
        self.accelerator.wait_for_everyone()

    def _save(self) -> None:
        self.folder.save(
            {
                "step": self.step,
                "best": self.best,
                "place": self.place,
                "sums": self._sums,
                "network": self.task.network.state_dict(),
                "heads": self.task.heads.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        )
        self.accelerator.wait_for_everyone()
