"""Shards made by workers of Ray, on this machine or on a cluster.

Each worker loads the model once and makes one shard at a time. What it writes is what one process would write, and a
shard's file appears whole or not at all, so a shard whose worker was killed is made again by another.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from edgecap.archive.engine import CaptionerSource, EngineContext
from edgecap.archive.settings import sounds_digest
from edgecap.archive.shard import ShardReport, ShardWork, caption_shard
from edgecap.bundle.bundle import MANIFEST_NAME, identity_of
from edgecap.bundle.models import list_models
from edgecap.cluster.pool import RayWorkers
from edgecap.cluster.session import Workers
from edgecap.errors import BundleError, ConfigError

log = logging.getLogger(__name__)


class RayEngine:
    """As many shards at a time as there are workers."""

    def __init__(self, context: EngineContext) -> None:
        """Raises MissingDependencyError without a Ray that can be used."""
        workers = Workers(count=context.workers, threads=context.captioner.threads, address=context.address)
        make = partial(shard_maker, context.captioner)
        self._pool = RayWorkers(make, workers, name=lambda work: f"shard {work.shard:06d}")

    def run(self, works: Iterable[ShardWork]) -> Iterator[ShardReport]:
        """As in `Engine`. Raises as `RayWorkers.map`, and what `caption_shard` does."""
        return self._pool.map(works)

    def close(self) -> None:
        """As in `Engine`."""
        self._pool.close()


def open_engine(context: EngineContext) -> RayEngine:
    """The engine; Ray itself is started with the first shard. Raises MissingDependencyError."""
    return RayEngine(context)


def shard_maker(source: CaptionerSource, threads: int) -> Callable[[ShardWork], ShardReport]:
    """In a worker: a function that makes shards. Raises BundleError where the archive's model is not on its machine."""
    folder = _folder(source)
    captioner = replace(source, model=folder, threads=threads).load(lambda kind, text: log.warning("%s", text))
    sounds = sounds_digest(captioner.matcher.sounds if captioner.matcher else ())

    def make(work: ShardWork) -> ShardReport:
        if work.options.sounds != sounds:
            raise ConfigError(
                f"{platform.node()} has other taught sounds than the archive; copy the folder of edgecap sounds there, "
                "or set EDGECAP_SOUNDS to the folder with those"
            )
        return caption_shard(work, captioner)

    return make


def _folder(source: CaptionerSource) -> str:
    """Where the archive's model is here: at the driver's path, or installed."""
    if (Path(source.model) / MANIFEST_NAME).is_file():
        return source.model
    for model in list_models():
        if model.manifest is not None and identity_of(model.manifest) == source.identity:
            return str(model.folder)
    raise BundleError(
        f"{platform.node()} has no model {source.identity[:12]}…; copy the folder {source.model} to the same place "
        "there, or install it: edgecap pull"
    )
