"""What a run minimises, and its gradient: of a whole batch at once, or of one micro-batch after the other.

A loss is a sum and what it has to be divided by, of the clips of all micro-batches and processes. Before the first
gradient both are known, so that micro-batches give the gradient of the whole batch. Losses that compare clips with
each other (InfoNCE) need the clips of all micro-batches, of which memory holds one: as in GradCache (Gao et al. 2021,
arXiv 2101.06983), the embeddings of all are computed without a gradient first, the loss gives the gradient of each
embedding, and each micro-batch is computed again with that gradient. It costs one more forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from accelerate import Accelerator

Parts = dict[str, tuple[Tensor, Tensor]]
"""Name → the sum of a weighted loss, and what it has to be divided by."""
Rows = tuple[Tensor, ...]
PULL = "pull"


class Objective(nn.Module):
    """Network, heads and losses as one module, which can be wrapped for several processes."""

    def apart(self, *inputs: Any) -> tuple[Parts, Rows]:  # noqa: ANN401 - the task's
        """The losses that each clip has for itself, and what `together` compares: tensors with a row for each clip."""
        raise NotImplementedError

    def together(self, *rows: Tensor) -> Parts:
        """The losses that compare the clips of all micro-batches and processes; `rows` as `apart` gave them."""
        return {}

    def forward(self, *inputs: Any, pull: Rows | None = None) -> Parts:  # noqa: ANN401
        """All losses; with `pull`, the gradient of `together` to each of the rows, the product of both in its place."""
        parts, rows = self.apart(*inputs)
        if pull is None:
            return parts | self.together(*rows)
        pulled = [(row * gradient).sum() for row, gradient in zip(rows, pull, strict=True)]
        return parts | ({PULL: (torch.stack(pulled).sum(), torch.ones(()))} if pulled else {})


@dataclass(frozen=True)
class StepLosses:
    """The losses of one step."""

    values: dict[str, float]
    """Name → the mean over all processes."""
    counted: tuple[str, ...]
    """The losses that a clip of the batch had."""


class Gradients:
    """Fills the parameters' gradients with those of a batch that all processes share."""

    def __init__(self, accelerator: Accelerator, objective: Objective, wrapped: nn.Module) -> None:
        """`wrapped`: the objective as Accelerate wrapped it."""
        self.accelerator, self.objective, self.wrapped = accelerator, objective, wrapped

    def compute(self, inputs: Sequence[tuple[Any, ...]], seed: Callable[[int], None]) -> StepLosses:
        """Add the gradient of all micro-batches' `inputs` to what is there; `seed(i)` goes before micro-batch i."""
        if len(inputs) == 1:
            seed(0)
            parts: Parts = self.wrapped(*inputs[0])
            everyone = self._reduced(parts)
            self._backward(parts, everyone)
            return _step(everyone)
        sums, rows = self._forward(inputs, seed)
        leaves = tuple(row.requires_grad_() for row in rows)
        joint = self.objective.together(*leaves)
        everyone = self._reduced(sums | joint)
        with self.accelerator.no_sync(self.wrapped):
            if joint:
                self._backward(joint, everyone)
        pulls = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
        shares = [pull.chunk(len(inputs)) for pull in pulls]
        for number, given in enumerate(inputs):
            last = number == len(inputs) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                seed(number)
                parts = self.wrapped(*given, pull=tuple(share[number] for share in shares))
                self._backward(parts, everyone)
        return _step(everyone)

    @torch.no_grad()
    def _forward(self, inputs: Sequence[tuple[Any, ...]], seed: Callable[[int], None]) -> tuple[Parts, Rows]:
        """The sums of all micro-batches' own losses, and the rows of all."""
        sums: Parts = {}
        every: list[Rows] = []
        with _buffers_kept(self.objective):
            for number, given in enumerate(inputs):
                seed(number)
                parts, rows = self.objective.apart(*given)
                every.append(rows)
                for name, (total, count) in parts.items():
                    before = sums.get(name, (torch.zeros_like(total), torch.zeros_like(count)))
                    sums[name] = before[0] + total, before[1] + count
        return sums, tuple(torch.cat(tensors) for tensors in zip(*every, strict=True))

    def _reduced(self, parts: Parts) -> Parts:
        """Sums and counts over all processes."""
        own = torch.stack([torch.stack((total.detach(), count.detach())) for total, count in parts.values()])
        everyone = self.accelerator.reduce(own, "sum")
        return {name: (row[0], row[1]) for name, row in zip(parts, everyone, strict=True)}

    def _backward(self, parts: Parts, everyone: Parts) -> None:
        """Add the gradient of `parts`, divided by what `everyone` counts."""
        processes = self.accelerator.num_processes  # gradients are averaged over the processes, sums are wanted
        losses = [
            total if name == PULL else total / everyone[name][1].clamp(min=1.0) * processes
            for name, (total, _) in parts.items()
        ]
        self.accelerator.backward(torch.stack(losses).sum())


def _step(everyone: Parts) -> StepLosses:
    values = {name: float(total / count.clamp(min=1.0)) for name, (total, count) in everyone.items()}
    return StepLosses(values, tuple(name for name, (_, count) in everyone.items() if count > 0))


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Within, BatchNorm learns no statistics: each clip is to count once."""
    before = [buffer.clone() for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, kept in zip(module.buffers(), before, strict=True):
            buffer.copy_(kept)
