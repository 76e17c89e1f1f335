"""One shard: its sources are captioned, and its tables are written, whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap._version import __version__
from edgecap.archive.inputs.find import PlannedSource
from edgecap.archive.inputs.sounds import SoundKey, open_sounds
from edgecap.archive.inputs.times import later, zone
from edgecap.archive.schema import (
    CAPTIONS,
    FAILURES,
    ArchivedModel,
    CaptionOptions,
    FailedSource,
    captions_schema,
    failures_schema,
    shard_name,
    with_metadata,
)
from edgecap.archive.store import ArchiveStore, open_store
from edgecap.archive.tables import table_bytes
from edgecap.batching import BatchCaptioner, CaptionedSound
from edgecap.caption import Caption
from edgecap.captioner import Captioner
from edgecap.live.events.alerts import NAMES, said

Heard = Callable[[int, float], None]
"""Called behind each sound with how many sources of the shard are begun, and the seconds of sound captioned."""


@dataclass(frozen=True)
class ShardWork:
    """What a worker needs to make a shard, beside a captioner."""

    out: str
    """Address of the archive."""
    shard: int
    sources: tuple[PlannedSource, ...]
    model: ArchivedModel
    options: CaptionOptions
    embedding_dim: int


@dataclass(frozen=True)
class ShardReport:
    """What was made."""

    shard: int
    sources: int
    captions: int
    failures: int
    sound_seconds: float
    """Of all sounds together."""
    seconds: float
    """That it took."""


@dataclass
class _Rows:
    """The columns of a shard's captions."""

    work: ShardWork
    columns: dict[str, list[Any]]
    embeddings: list[NDArray[np.float16]] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def of(cls, work: ShardWork) -> _Rows:
        """No rows."""
        names = captions_schema(work.embedding_dim).names
        return cls(work, {name: [] for name in names if name not in {"embedding", "model", "edgecap", "shard"}})

    def add(self, done: CaptionedSound[SoundKey]) -> None:
        """The rows of a sound."""
        length = max((caption.end for caption in done.captions), default=0.0)
        began = done.key.time
        if began is None and self.work.options.time_from == "modified" and done.key.modified is not None:
            began = later(done.key.modified, -length)  # a recorder changes a file last at its end
        self.seconds += length
        for caption, embedding in zip(done.captions, done.embeddings, strict=True):
            row = {
                "source": done.key.source,
                "start": caption.start,
                "end": caption.end,
                "time": later(began, caption.start),
                "caption": caption.text,
                "confidence": caption.confidence,
                "score": caption.score,
                "beams": [{"text": beam.text, "score": beam.score} for beam in caption.beams],
                "tags": tags(caption),
                "level": caption.level_dbfs,
                "silent": caption.silent,
            }
            for name, values in self.columns.items():
                values.append(row[name])
            empty = np.full(self.work.embedding_dim, np.nan, np.float16)
            self.embeddings.append(empty if embedding is None else embedding.astype(np.float16))

    def parquet(self) -> bytes:
        """The file."""
        import pyarrow as pa

        work, count = self.work, len(self.embeddings)
        silent = np.array(self.columns["silent"], bool)
        flat = np.concatenate(self.embeddings) if count else np.empty(0, np.float16)
        same = {"model": work.model.sha256, "edgecap": __version__, "shard": work.shard}
        columns = {
            **self.columns,
            **{name: [value] * count for name, value in same.items()},
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(flat), work.embedding_dim, mask=pa.array(silent)),
        }
        schema = with_metadata(captions_schema(work.embedding_dim), work.model, work.options)
        return table_bytes(pa.table(columns, schema=schema))


def tags(caption: Caption) -> list[str]:
    """Names of the taught sounds in a window, surest first, and of the built-in ones that its caption says."""
    by_words = (alert.name for alert in said(tuple(NAMES), caption.model_text, caption.end - caption.start))
    return list(dict.fromkeys([*(match.name for match in caption.sounds), *by_words]))


def caption_shard(
    work: ShardWork, captioner: Captioner, *, store: ArchiveStore | None = None, heard: Heard | None = None
) -> ShardReport:
    """Caption a shard's sources and write its tables to the archive.

    Sources that cannot be read are rows in its table of failures. Raises OutputError where the tables, or a copy of a
    source, cannot be written; nothing is half-written then.
    """
    begun = time.monotonic()
    store = store or open_store(work.out)
    rows, failures, opened = _Rows.of(work), list[FailedSource](), 0
    order = {source.address: number for number, source in enumerate(work.sources, start=1)}
    sounds = open_sounds(work.sources, zone(work.options.time_zone), failures.append)
    options = work.options
    captioned = BatchCaptioner(captioner).caption_sounds(
        sounds, window=options.window, hop=options.hop, beam=options.beam
    )
    for done in captioned:
        rows.add(done)
        if done.fault is not None:
            failures.append(FailedSource.of(done.key.source, done.fault))
        opened = order.get(done.key.source, opened)  # members of a tar file count with it
        if heard is not None:
            heard(opened, rows.seconds)
    _write(work, store, rows, sorted(failures, key=lambda failed: failed.source))
    return ShardReport(
        work.shard, len(work.sources), len(rows.embeddings), len(failures), rows.seconds, time.monotonic() - begun
    )


def _write(work: ShardWork, store: ArchiveStore, rows: _Rows, failures: list[FailedSource]) -> None:
    """Write the tables, that of captions last: it says that the shard is done."""
    name = shard_name(work.shard)
    write_failures(store, name, failures, work.shard, work.model, work.options)
    store.write(f"{CAPTIONS}/{name}", rows.parquet())


def write_failures(  # noqa: PLR0917
    store: ArchiveStore,
    name: str,
    failures: list[FailedSource],
    shard: int,
    model: ArchivedModel,
    options: CaptionOptions,
) -> None:
    """Write a table of failures; without any there is none, one of an earlier try is removed. Raises OutputError."""
    import pyarrow as pa

    if not failures:
        store.remove(f"{FAILURES}/{name}")
        return
    columns = {
        "source": [failed.source for failed in failures],
        "reason": [failed.reason for failed in failures],
        "error": [failed.error for failed in failures],
        "shard": [shard] * len(failures),
    }
    table = pa.table(columns, schema=with_metadata(failures_schema(), model, options))
    store.write(f"{FAILURES}/{name}", table_bytes(table))
