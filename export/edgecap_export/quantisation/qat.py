"""Quantisation-aware fine-tuning: a student learns to say in int8 what its own float32 self says.

In training each convolution sees its weights and its input rounded as int8 rounds them (weights symmetric with one
scale for each output channel, inputs unsigned with one scale), while gradients pass as if nothing were rounded
(straight-through estimator: Bengio et al. 2013, arXiv 1308.3432; in quantisation Jacob et al. 2018, arXiv 1712.05877).
BatchNorm keeps its statistics, so that it folds as before: it scales each output channel, and so does the rounding.
No captions are needed: what is learnt is the keys and values that the decoder attends to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgecap_export.quantisation.quantise import Range, step_of
from edgecap_train.models.student import Student

BATCH = 4
LEARNING_RATE = 3e-6
"""Adam's. On random weights 1e-5 already undid more than it mended; rounding is a small error to learn away."""
CUT_OFF = 1e-4
"""Part of an input's values that may lie outside its range, both ends together."""


class _RoundedWeight(nn.Module):
    """Weights to the nearest of 255 multiples of each output channel's step."""

    def forward(self, weight: Tensor) -> Tensor:
        """(out, …) → the same shape."""
        peaks = weight.detach().abs().flatten(1).amax(dim=1).clamp(min=1e-8)
        step = (peaks / 127.0).reshape(-1, *[1] * (weight.dim() - 1))
        return weight + (torch.round(weight / step) * step - weight).detach()


def rounded_input(x: Tensor, span: Range) -> Tensor:
    """`x` to the nearest of 256 steps of a range; outside it, its ends, where no gradient passes."""
    step = step_of(span)
    scale, zero = float(step.scale), float(step.zero)
    clipped = x.clamp(-zero * scale, (255.0 - zero) * scale)
    return clipped + (torch.round(clipped / scale) * scale - clipped).detach()


@torch.no_grad()
def input_ranges(student: Student, log_mels: Sequence[NDArray[np.float32]]) -> dict[str, Range]:
    """Convolution that int8 rounds → the range of its input over `log_mels` (1, n_mels, T) each.

    Left out, as in `recipes.INT8`: the first one, over all channels, and those that see one value for each channel.
    """
    ends: dict[str, list[tuple[float, float]]] = {}
    hooks = []
    for name, module in student.encoder.named_modules():
        if isinstance(module, nn.Conv2d) and (module.groups > 1 or module.kernel_size == (1, 1)):

            def note(module: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
                values = cast(Tensor, inputs[0])
                if values.shape[-1] * values.shape[-2] > 1:
                    ordered = values.flatten().sort().values
                    cut = int(ordered.numel() * CUT_OFF / 2)
                    ends.setdefault(name, []).append((float(ordered[cut]), float(ordered[-1 - cut])))

            hooks.append(module.register_forward_pre_hook(note))
    try:
        for log_mel in log_mels:
            student.encode(torch.from_numpy(log_mel))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (min(low for low, _ in found), max(high for _, high in found)) for name, found in ends.items()}


@contextmanager
def rounding(student: Student, ranges: Mapping[str, Range]) -> Iterator[None]:
    """Within, the convolutions named in `ranges` compute with rounded weights and inputs, and gradients pass."""
    modules = dict(student.encoder.named_modules())
    hooks = []
    for name, span in ranges.items():

        def enter(module: nn.Module, inputs: tuple[Any, ...], span: Range = span) -> tuple[Tensor]:
            return (rounded_input(cast(Tensor, inputs[0]), span),)

        hooks.append(modules[name].register_forward_pre_hook(enter))
        parametrize.register_parametrization(modules[name], "weight", _RoundedWeight())
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name in ranges:
            parametrize.remove_parametrizations(modules[name], "weight", leave_parametrized=False)


def fine_tuned(
    student: Student,
    log_mels: Sequence[NDArray[np.float32]],
    steps: int,
    *,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> Student:
    """A copy of `student` (in eval mode, on the CPU) that has learnt `steps` batches of `log_mels` under rounding.

    `progress` is told the step and its loss: the squared error of keys and values in parts of their own size.
    Raises ValueError without log-mels.
    """
    if not log_mels:
        raise ValueError("fine-tuning needs at least one log-mel")
    learner = copy.deepcopy(student)
    ranges = input_ranges(student, log_mels)
    random = np.random.default_rng(seed)
    with rounding(learner, ranges):
        weights = [parameter for parameter in learner.encoder.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(weights, lr=learning_rate)
        for step in range(steps):
            chosen = random.integers(0, len(log_mels), BATCH)
            batch = torch.from_numpy(np.concatenate([log_mels[index] for index in chosen]))
            with torch.no_grad():
                wanted = student.decoder.cross_cache(student.encode(batch))
            given = learner.decoder.cross_cache(learner.encode(batch))
            pairs = zip(given, wanted, strict=True)
            loss = torch.stack([(a - b).square().mean() / b.square().mean() for a, b in pairs]).sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            progress(step, float(loss.detach()))
    return learner.eval()
