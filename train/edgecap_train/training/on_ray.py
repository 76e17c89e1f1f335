"""A training run by processes of a Ray cluster, through Ray Train: the function that torchrun's processes call, too.

Ray Train starts the processes and makes them known to each other (gloo, or nccl where each has a GPU); Accelerate finds
them as it finds those of torchrun. One that ends costs the run, which resumes from its last checkpoint.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener
from typing import Any

from edgecap._version import __version__
from edgecap.cluster.session import Team, Workers, open_team
from edgecap.errors import ConfigError, EdgecapError, MissingDependencyError, RunError

log = logging.getLogger(__name__)


def run_on_ray(run: Callable[[], object], workers: Workers) -> None:
    """Call `run` in all `workers`, which train together; what the first one logs is logged here.

    `run` is pickled; folders in it are seen by all machines. Raises what it raises, as `open_team`, ConfigError where
    the cluster has fewer cores than the workers need, and RunError where a worker ends.
    """
    with open_team(workers) as team:
        cores = int(team.ray.cluster_resources().get("CPU", 0))
        if team.count * team.threads > cores:
            raise ConfigError(
                f"the Ray cluster has {cores} cores, and {team.count} workers with {team.threads} threads each need "
                f"{team.count * team.threads}; ask for fewer --workers or --threads"
            )
        with _logged(team) as lines, tempfile.TemporaryDirectory(prefix="edgecap-") as storage:
            _fit(run, team, lines, storage)


def _fit(run: Callable[[], object], team: Team, lines: Any, storage: str) -> None:  # noqa: ANN401 - Ray's queue
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # parts of Ray warn each other
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        gpus = team.ray.cluster_resources().get("GPU", 0) >= team.count
        resources = {"CPU": team.threads} | ({"GPU": 1} if gpus else {})
        trainer = TorchTrainer(
            _work,
            train_loop_config={"run": run, "version": __version__, "threads": team.threads, "lines": lines},
            scaling_config=ScalingConfig(num_workers=team.count, use_gpu=gpus, resources_per_worker=resources),
            run_config=RunConfig(storage_path=storage),
        )
        try:
            trainer.fit()
        except Exception as error:  # Ray's wraps what workers raised
            raise _cause(error) from error


def _work(given: dict[str, Any]) -> None:
    """What each worker does."""
    import torch
    from ray.train import get_context

    from edgecap.cluster.worker import differs

    other = differs(given["version"])
    if other:
        raise MissingDependencyError(f"a node of Ray has {other}; install edgecap {given['version']} there")
    torch.set_num_threads(given["threads"])
    if get_context().get_world_rank() == 0:
        root = logging.getLogger()
        root.setLevel(logging.INFO)
        root.addHandler(QueueHandler(given["lines"]))
    given["run"]()


@contextmanager
def _logged(team: Team) -> Iterator[Any]:
    """A queue whose log records this process handles."""
    from ray.util.queue import Queue

    lines = Queue(actor_options={"num_cpus": 0})
    listener = QueueListener(lines, *logging.getLogger().handlers, respect_handler_level=True)
    listener.start()
    try:
        yield lines
    finally:
        listener.stop()
        lines.shutdown()


def _cause(error: Exception) -> EdgecapError:
    """The first error of edgecap's that a worker raised, or one line on what else ended it."""
    failures = getattr(error, "worker_failures", None) or {}
    for failure in [*(failures[rank] for rank in sorted(failures)), error]:
        behind: BaseException | None = failure
        while behind is not None:
            if isinstance(behind, EdgecapError):
                return behind
            behind = getattr(behind, "_base_exc", None) or behind.__cause__
    first = next(iter(failures.values()), error)
    reason = " ".join(str(first).split())[:300] or type(first).__name__
    return RunError(f"a worker of Ray ended ({reason}); type the same command to resume from the last checkpoint")
