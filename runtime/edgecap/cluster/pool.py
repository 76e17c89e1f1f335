"""A function over many items on Ray's workers.

A worker that is killed in the middle of an item costs that item only, which another worker does again; so an item must
be one that can be done twice. These are plain actors of Ray, one item in each at a time. Ray Data, which could do the
same, needs four processes more: with two workers that do nothing 1.02 GB in place of 0.57 GB (Ray 2.60), and the blocks
that it moves would be a line for each minute of work.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic

from edgecap._version import __version__
from edgecap.cluster.session import Team, Workers, load_ray, open_team
from edgecap.cluster.worker import Item, Make, Result, WorkerAnswer
from edgecap.errors import MissingDependencyError, RunError

log = logging.getLogger(__name__)

TRIES = 3
"""An item whose worker ended so often is left: it is the item that ends them."""
DEATHS = 10
"""So many workers more than there are at a time may end in a row, with nothing done between."""
PATIENCE_SECONDS = 30.0
"""Without a word from any worker, before the user is warned what is waited for."""


def map_items(
    make: Make[Item, Result],
    items: Iterable[Item],
    workers: Workers | None,
    *,
    threads: int = 1,
    name: Callable[[Item], str] = str,
) -> Iterator[Result]:
    """The results of `make(threads)(item)` for each item: in this process where `workers` is None, else on Ray.

    Raises what the function does, and on Ray as `RayWorkers.map`.
    """
    if workers is not None:
        with closing(RayWorkers(make, workers, name=name)) as pool:
            yield from pool.map(items)
        return
    call: Callable[[Item], Result] | None = None
    for item in items:
        call = call or make(threads)
        yield call(item)


@dataclass
class _Task(Generic[Item]):
    item: Item
    tries: int = 0


class RayWorkers(Generic[Item, Result]):
    """Workers that are started when there is something to do and stay until `close`."""

    def __init__(self, make: Make[Item, Result], workers: Workers, *, name: Callable[[Item], str] = str) -> None:
        """`make` is called once in each worker; it, items and results are pickled. `name` of an item is for messages.

        Raises MissingDependencyError without a Ray that can be used.
        """
        load_ray(own=workers.address is None)
        self._make, self._workers, self._name = make, workers, name
        self._resources = ExitStack()
        self._team: Team | None = None
        self._packed = b""
        self._class: Any = None
        self._calls: dict[Any, tuple[Any, _Task[Item], bool]] = {}
        """What runs: its reference → the worker, its item, and whether the worker is only being started for it."""
        self._idle: list[Any] = []
        self._again: deque[_Task[Item]] = deque()
        self._lost: list[str] = []
        self._deaths = 0
        self._error: Exception | None = None

    def close(self) -> None:
        """End the workers, and Ray where it was started here."""
        self._resources.close()
        self._team = None

    def map(self, items: Iterable[Item]) -> Iterator[Result]:
        """The results for items, in the order in which they are done. One call at a time.

        What workers log as warnings is logged here. The first exception that a worker raises is raised here when the
        others have done the item they are at. Raises as `open_team`; MissingDependencyError where a worker's edgecap is
        missing or another; RunError at the end where items were left since their workers ended.
        """
        waiting = iter(items)
        for first in waiting:  # Ray takes seconds to start, and there may be nothing to do
            team = self._team or self._open()
            try:
                yield from self._walk(chain([first], waiting), team)
            finally:
                for worker, *_ in self._calls.values():  # the caller left in the middle
                    team.ray.kill(worker)
                self._calls.clear()
                self._again.clear()

    def _open(self) -> Team:
        team = self._resources.enter_context(open_team(self._workers))
        self._team, self._packed = team, team.ray.cloudpickle.dumps(self._make)
        self._class = team.ray.remote(num_cpus=team.threads, max_restarts=0, max_task_retries=0)(_worker_class())
        self._resources.callback(self._idle.clear)  # their handles are gone before Ray is
        return team

    def _walk(self, waiting: Iterator[Item], team: Team) -> Iterator[Result]:
        warned = False
        self._lost, self._error = [], None
        self._fill(waiting, team)
        while self._calls:
            ready, _ = team.ray.wait(list(self._calls), timeout=None if warned else PATIENCE_SECONDS)
            if not ready and any(starting for *_, starting in self._calls.values()):
                own = self._workers.address is None
                what = (
                    "the workers to start on this machine" if own else "a free core of the Ray cluster; see: ray status"
                )
                log.warning("waiting for %s", what)
                warned = True
            for call in ready:
                yield from self._take(call, team)
            self._fill(waiting, team)
        if self._error is not None:
            raise self._error
        if self._lost:
            raise RunError(
                f"{', '.join(self._lost[:3])}{' …' if len(self._lost) > 3 else ''}: {TRIES} workers ended in the "
                f"middle of {'it' if len(self._lost) == 1 else 'each'}, for want of memory or by a fault in a library; "
                "all else is done; look at these inputs, or try fewer --workers"
            )

    def _fill(self, waiting: Iterator[Item], team: Team) -> None:
        """Give each worker that has nothing to do an item, and start workers while there are too few."""
        while self._error is None and (self._idle or len(self._calls) < team.count):
            task = self._again.popleft() if self._again else next(map(_Task, waiting), None)
            if task is None:
                return
            if self._idle:
                worker = self._idle.pop()
                self._calls[worker.run.remote(task.item)] = worker, task, False
            else:
                worker = self._class.remote()
                self._calls[worker.start.remote(__version__, self._packed, team.threads)] = worker, task, True

    def _take(self, call: Any, team: Team) -> Iterator[Result]:  # noqa: ANN401
        """The result of a call that has ended, if it was one of an item and ended well."""
        worker, task, starting = self._calls.pop(call)
        try:
            answer: WorkerAnswer[Result] | str = team.ray.get(call)
        except team.ray.exceptions.RayError as error:
            self._bury(worker, task, error, team)
            return
        if isinstance(answer, str):
            self._fail(MissingDependencyError(answer))
            return
        for logger, level, text in answer.messages:
            logging.getLogger(logger).log(level, "%s", text)
        if answer.error is not None:
            self._fail(answer.error)
            return
        if starting:
            self._calls[worker.run.remote(task.item)] = worker, task, False
            return
        self._deaths = 0
        self._idle.append(worker)
        yield answer.result  # type: ignore[misc]  # an answer without an error has one

    def _bury(self, worker: Any, task: _Task[Item], error: Exception, team: Team) -> None:  # noqa: ANN401
        with suppress(Exception):  # it may still live, out of reach
            team.ray.kill(worker)
        task.tries += 1
        self._deaths += 1
        if self._deaths >= team.count + DEATHS:
            self._fail(RunError(f"{self._deaths} workers ended in a row ({_cause(error)}); try fewer --workers"))
        elif task.tries == TRIES:
            self._lost.append(self._name(task.item))
            log.warning("%s is left out: %d workers ended in the middle of it", self._lost[-1], TRIES)
        else:
            log.warning("a worker ended in the middle of %s; another does it again", self._name(task.item))
            self._again.append(task)

    def _fail(self, error: Exception) -> None:
        """Keep the first error, and begin nothing more."""
        self._error = self._error or error


def _cause(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _worker_class() -> type:
    """The class of workers. It is sent by value, so that it can say where edgecap is missing."""

    class Worker:
        """One of Ray's actors."""

        def start(self, version: str, packed: bytes, threads: int) -> Any:  # noqa: ANN401
            """Make the function; a sentence where this node cannot work for that driver, else an `WorkerAnswer`."""
            import pickle
            import platform

            here, same = platform.node(), f"install edgecap {version} there, in the Python that Ray runs"
            try:
                from edgecap.cluster.worker import Job, differs

                other = differs(version)
                if other:
                    return f"Ray's node {here} has {other}; {same}"
                make = pickle.loads(packed)
            except ImportError as error:
                return f"Ray's node {here} has no {error.name}; {same}, with the extra ray"
            self.job = Job(make, threads)
            return self.job.start()

        def run(self, item: Any) -> Any:  # noqa: ANN401
            """The `WorkerAnswer` for an item."""
            return self.job.run(item)

    return Worker
