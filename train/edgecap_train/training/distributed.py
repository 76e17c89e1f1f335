"""Several processes that train one model: rows of all of them, with gradients that find their way back.

Everything here does nothing special where there is one process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


def accelerator() -> Accelerator:
    """Accelerate's view of this process and its device: a GPU where there is one."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[unused])


def process_part() -> tuple[int, int]:
    """(this process, all of them), as streams take it; the processes know each other afterwards."""
    shared = accelerator()
    return shared.process_index, shared.num_processes


def process_count() -> int:
    """Processes that train together."""
    return distributed.get_world_size() if _together() else 1


def process_index() -> int:
    """Which of them this is, from 0."""
    return distributed.get_rank() if _together() else 0


def from_main(make: Callable[[], T]) -> T:
    """What `make` returns in the first process, in all of them; raises in all what it raises there."""
    if not _together():
        return make()
    box: list[Any] = [None]
    if process_index() == 0:
        try:
            box = [make()]
        except Exception as error:
            box = [error]
    distributed.broadcast_object_list(box)
    if isinstance(box[0], Exception):
        raise box[0]
    return cast(T, box[0])


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all processes, this one's (B, …) among them: (processes x B, …), every process giving as many."""
    return cast(Tensor, cast(Any, _GatherRows).apply(rows)) if _together() else rows


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


class _GatherRows(torch.autograd.Function):
    """All-gather whose gradient is the sum of what all processes make of the rows; works with gloo and nccl."""

    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:  # noqa: ANN401
        context.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(process_count())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Tensor:  # noqa: ANN401
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        start = process_index() * context.count
        return cast(Tensor, total[start : start + context.count])
