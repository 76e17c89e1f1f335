"""Functions run by several processes that train together, over gloo."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

PRELOADED = (
    "support.parallel.training_steps",
    "accelerate",
    "edgecap_train.teacher_training.htsat_training",
    "transformers.models.bart.modeling_bart",
    "transformers.models.clap.modeling_clap",
    "transformers.initialization",
    "torch._dynamo",  # which an optimizer imports with its first step, in over a second
)
"""What the processes of a call use: imported once, before there are threads; what is not installed is left out."""

P = ParamSpec("P")
R = TypeVar("R")


def together(count: int, meeting: Path, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> list[R]:
    """What `function`, of a module, returns in each of `count` processes; `meeting`: a file that does not exist yet.

    Raises what one of them raised.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    with ProcessPoolExecutor(count, context) as pool:
        calls = [
            pool.submit(_member, rank, count, meeting, partial(function, *args, **kwargs)) for rank in range(count)
        ]
        return [call.result(timeout=300) for call in calls]


def _member(rank: int, count: int, meeting: Path, call: Callable[[], R]) -> R:
    import torch
    from accelerate import PartialState
    from torch import distributed

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    distributed.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=count)
    try:
        assert PartialState(cpu=True).num_processes == count
        return call()
    finally:
        distributed.destroy_process_group()
