"""Engines: what makes shards. The one here works in this process; another can spread them over many."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pkgutil import resolve_name
from typing import Literal, Protocol, cast, get_args

from edgecap.archive.schema import ArchivedModel
from edgecap.archive.shard import Heard, ShardReport, ShardWork, caption_shard
from edgecap.captioner import Captioner
from edgecap.errors import BundleError, ConfigError, MissingDependencyError
from edgecap.inference.session import usable_cores
from edgecap.teaching.own import with_own_sounds
from edgecap.types import Notify

EngineName = Literal["local", "ray"]
VARIABLE = "EDGECAP_ENGINE"
_OTHERS = {"ray": "edgecap.archive.ray_engine:open_engine"}
"""Name → function from `EngineContext` to an `Engine`; its module is imported when it is asked for."""


@dataclass(frozen=True)
class CaptionerSource:
    """How a worker, in this process or another, comes to the captioner of an archive."""

    model: str
    """The bundle's folder."""
    identity: str
    """`Bundle.identity`; another bundle is refused."""
    threads: int | None

    def load(self, notify: Notify) -> Captioner:
        """The captioner, with the taught sounds. Raises BundleError, MissingDependencyError, DataError."""
        captioner = Captioner.load(self.model, threads=self.threads)
        if captioner.bundle.identity != self.identity:
            raise BundleError(f"{self.model} is not the archive's model here; copy the bundle to this machine again")
        return with_own_sounds(captioner, notify)


@dataclass(frozen=True)
class EngineContext:
    """What an engine is made from."""

    captioner: CaptionerSource
    model: ArchivedModel
    notify: Notify
    heard: Heard
    """For engines that can say how far a shard is."""
    workers: int | None = None
    address: str | None = None


class Engine(Protocol):
    """Makes shards."""

    def run(self, works: Iterable[ShardWork]) -> Iterator[ShardReport]:
        """Make each shard; their reports in any order. Raises OutputError, RunError; what is written stays."""
        ...

    def close(self) -> None:
        """End what it started."""
        ...


class LocalEngine:
    """One shard after the other, in this process; the model is loaded at the first one."""

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._captioner: Captioner | None = None

    def run(self, works: Iterable[ShardWork]) -> Iterator[ShardReport]:
        """As in `Engine`."""
        for work in works:
            if self._captioner is None:
                self._captioner = self._context.captioner.load(self._context.notify)
            yield caption_shard(work, self._captioner, heard=self._context.heard)

    def close(self) -> None:
        """As in `Engine`."""


def default_engine(shards: int) -> EngineName:
    """What makes so many shards where nobody said: Ray where it is installed, with several shards and several cores.

    The variable EDGECAP_ENGINE overrules that. Raises ConfigError for another value than an engine's name.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen in get_args(EngineName):
        return cast(EngineName, chosen)
    if chosen:
        raise ConfigError(f"{VARIABLE} is {chosen!r}; use {' or '.join(get_args(EngineName))}, or unset it")
    return "ray" if shards > 1 and usable_cores() > 1 and find_spec("ray") is not None else "local"


def open_engine(name: EngineName, context: EngineContext) -> Engine:
    """The engine of that name. Raises MissingDependencyError where its packages are not installed."""
    if name == "local":
        return LocalEngine(context)
    try:
        opener: Callable[[EngineContext], Engine] = resolve_name(_OTHERS[name])
    except ImportError as error:
        raise MissingDependencyError.for_extra(f"--engine {name}", name) from error
    return opener(context)
