"""One archive from its inputs to the last shard: what `edgecap archive` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Self

from edgecap.archive.engine import CaptionerSource, Engine, EngineContext, EngineName, default_engine, open_engine
from edgecap.archive.finished import finished_shards
from edgecap.archive.inputs.find import InputRules, PlannedSource, find_sources
from edgecap.archive.inputs.times import zone
from edgecap.archive.model import DeferredSession, model_folder
from edgecap.archive.plan import ArchivePlan, ShardSize
from edgecap.archive.schema import INPUTS, NO_SHARD, FailedSource, require_pyarrow
from edgecap.archive.settings import WantedOptions, chosen_settings, compare, read_settings, settle
from edgecap.archive.shard import ShardReport, ShardWork, write_failures
from edgecap.archive.store import open_store
from edgecap.bundle.bundle import load_bundle
from edgecap.captioner import Captioner
from edgecap.cluster.session import Workers, share
from edgecap.errors import AudioError
from edgecap.inference.session import usable_cores
from edgecap.teaching.own import with_own_sounds
from edgecap.types import Notify
from edgecap.util.progress import Progress

Settled = Callable[[PlannedSource], bool]
"""Whether nobody writes a source any more."""


@dataclass(frozen=True, kw_only=True)
class ArchiveJob:
    """What is to be made."""

    inputs: tuple[str, ...]
    """As `edgecap.archive.inputs.find` reads them; none for those that the archive has."""
    out: str
    """A folder, or an address of fsspec."""
    model: str | None = None
    options: WantedOptions = field(default_factory=WantedOptions)
    column: str | None = None
    """Of manifests; None for the first of the usual names."""
    size: ShardSize = field(default_factory=ShardSize)
    threads: int | None = None
    engine: EngineName | None = None
    """None for Ray where it is installed and there is work for several processes."""
    workers: int | None = None
    address: str | None = None
    """Of a cluster."""
    verify: bool = False
    """Whether every value of the shards that are there is read."""
    retry: bool = False
    """Whether shards with failures are made again."""


@dataclass(frozen=True, kw_only=True)
class ArchiveSummary:
    """What an archive holds after a run, and what the run did."""

    out: str
    files: int
    shards: int
    captions: int
    failures: int
    """Sources that could not be read to their end, and what was refused when the inputs were listed."""
    made: int
    """Shards that this run made."""
    damaged: int
    """Shards that were there, and not in order."""
    added: int
    """Files that were not in the plan before."""
    sound_seconds: float
    """That this run captioned."""
    seconds: float
    """That this run took."""

    def document(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "sound_seconds": round(self.sound_seconds, 3), "seconds": round(self.seconds, 3)}


class ArchiveRun:
    """An archive that is open for this process alone, where its place has locks. A context manager."""

    def __init__(self, job: ArchiveJob, notify: Notify, progress: Progress) -> None:
        """Open or begin the archive; nothing is captioned yet.

        Raises OutputError for a place that cannot be used, or holds an archive of another model, version, option or
        input; ValueError for a window, hop or beam out of range; BundleError, ConfigError, MissingDependencyError.
        """
        require_pyarrow()
        self._job, self._notify, self._progress = job, notify, progress
        self._begun, self._sound_seconds, self._made, self._damaged, self._added = time.monotonic(), 0.0, 0, 0, 0
        self._engine: Engine | None = None
        self._files_done, self._files_to_do = 0, 0
        self._captions: dict[int, int] | None = None
        self._failures = dict[int, int]()
        self._refused: list[FailedSource] | None = None
        zone(job.options.time_zone or "UTC")
        if job.engine is None:
            default_engine(0)  # what EDGECAP_ENGINE says is checked before anything is listed
        elif job.workers is not None and job.address is None:
            share(Workers(count=job.workers, threads=job.threads), usable_cores())  # and whether there are too many
        with ExitStack() as stack:
            self._store = open_store(job.out)
            old = read_settings(self._store)
            bundle = load_bundle(model_folder(job.model, old))
            captioner = with_own_sounds(Captioner(bundle, DeferredSession(bundle, job.threads)), notify)
            self._settings = chosen_settings(captioner, old, job.options, job.inputs)
            self._source = CaptionerSource(str(bundle.folder), bundle.identity, job.threads)
            stack.enter_context(self._store.lock())
            compare(self._store, old, self._settings)
            self._plan = ArchivePlan.read(self._store)
            self._known = self._plan.addresses()
            stack.callback(self._close_engine)
            self._resources = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def step(self, settled: Settled | None = None) -> None:
        """Plan new sources, those that are `settled`, and make the shards that are missing.

        Raises AudioError for inputs without a sound, unless there is `settled`, and what engines raise.
        """
        self._extend(settled)
        if self._captions is None:
            self._captions = self._look()
        done = self._captions
        for report in self._make([shard for shard in self._plan.shards if shard not in done]):
            done[report.shard] = report.captions
            self._failures[report.shard] = report.failures

    def summary(self) -> ArchiveSummary:
        """What the archive holds now."""
        return ArchiveSummary(
            out=self._store.address,
            files=self._plan.files,
            shards=len(self._plan.shards),
            captions=sum((self._captions or {}).values()),
            failures=sum(self._failures.values()) + len(self._refused or ()),
            made=self._made,
            damaged=self._damaged,
            added=self._added,
            sound_seconds=self._sound_seconds,
            seconds=time.monotonic() - self._begun,
        )

    def _extend(self, settled: Settled | None) -> None:
        """Add new sources to the plan; where another driver did so at the same time, those that are left."""
        rules = InputRules(self._job.column, self._settings.options.time_zone)
        while True:
            refused = list[FailedSource]()
            sources = find_sources(self._settings.inputs, rules, refused.append, self._known)
            new = [source for source in sources if settled is None or settled(source)]
            if not new and not self._plan.files and settled is None:
                first = f" that can be used; {refused[0].reason}" if refused else " there; name others"
                raise AudioError(f"{', '.join(self._settings.inputs[:3])}: no sound file{first}")
            settle(self._store, self._settings)
            if self._refused != refused:
                model, options = self._settings.model, self._settings.options
                write_failures(self._store, INPUTS, refused, NO_SHARD, model, options)
                self._refused = refused
            if not new:
                return
            had, begun = self._plan.files, bool(self._plan.files)
            plan = self._plan.add(self._store, new, self._job.size)
            self._plan = plan or ArchivePlan.read(self._store)
            self._known |= {source.address for source in new} if plan else self._plan.addresses()
            self._added += self._plan.files - had if begun else 0
            if plan:
                return

    def _look(self) -> dict[int, int]:
        """Rows of the shards that are done and stay."""
        finished = finished_shards(self._store, self._settings, set(self._plan.shards), verify=self._job.verify)
        self._damaged = len(finished.damaged)
        if finished.damaged:
            first = finished.damaged[0]
            self._notify("warning", f"damaged shards are made again: {self._damaged}, the first is {first}")
        again = finished.failures if self._job.retry else {}
        self._failures = {shard: rows for shard, rows in finished.failures.items() if shard not in again}
        return {shard: rows for shard, rows in finished.captions.items() if shard not in again}

    def _make(self, shards: list[int]) -> Iterator[ShardReport]:
        if not shards:
            return
        self._files_to_do += sum(map(self._plan.count, shards))
        if self._engine is None:
            job, model = self._job, self._settings.model
            context = EngineContext(self._source, model, self._notify, self._show, job.workers, job.address)
            name = job.engine or default_engine(len(shards))
            if name == "ray" and job.engine is None:
                self._notify("note", "all cores work, by Ray; --engine local makes one shard after the other instead")
            self._engine = open_engine(name, context)
        self._show(0, 0.0)
        for report in self._engine.run(self._works(shards)):
            self._made += 1
            self._files_done += report.sources
            self._sound_seconds += report.sound_seconds
            self._show(0, 0.0)
            yield report

    def _works(self, shards: Iterable[int]) -> Iterator[ShardWork]:
        settings = self._settings
        for shard in shards:
            sources = self._plan.sources(shard)
            yield ShardWork(
                self._store.address, shard, sources, settings.model, settings.options, settings.embedding_dim
            )

    def _show(self, sources: int, seconds: float) -> None:
        """Progress with that of a shard that is being made."""
        elapsed = max(time.monotonic() - self._begun, 1e-3)
        speed = (self._sound_seconds + seconds) / elapsed
        done, total = self._files_done + sources, self._files_to_do
        self._progress(done, total, f"{done:,} of {total:,} files, {speed:.0f} x real time")

    def _close_engine(self) -> None:
        if self._engine is not None:
            self._engine.close()
