"""Archives with rows that a test chooses, in the layout of `edgecap.archive.schema`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from edgecap.archive.schema import (
    CAPTIONS,
    SETTINGS,
    ArchivedModel,
    ArchiveSettings,
    CaptionOptions,
    captions_schema,
    shard_name,
    with_metadata,
)

OPTIONS = CaptionOptions(window=10.0, hop=10.0, beam=3)
MODEL = ArchivedModel("nobody", "0" * 64, "onnx")
DIM = 8


@dataclass(frozen=True)
class Row:
    """A window."""

    caption: str
    source: str = "/sounds/a.wav"
    start: float = 0.0
    time: float | None = None
    confidence: float | None = 0.5
    score: float | None = -0.5
    level: float = -20.0
    tags: tuple[str, ...] = ()
    embedding: tuple[float, ...] | None = None
    silent: bool = False
    end: float | None = None
    beams: tuple[str, ...] = field(default=())


def write_archive(
    folder: Path, *shards: Sequence[Row], model: ArchivedModel = MODEL, dim: int = DIM, settings: bytes | None = None
) -> Path:
    """Write an archive with these shards; its folder."""
    (folder / CAPTIONS).mkdir(parents=True, exist_ok=True)
    written = ArchiveSettings(model=model, options=OPTIONS, embedding_dim=dim).to_json()
    (folder / SETTINGS).write_bytes(written if settings is None else settings)
    for number, rows in enumerate(shards):
        write_shard(folder, number, rows, model=model, dim=dim)
    return folder


def write_shard(
    folder: Path, number: int, rows: Sequence[Row], *, model: ArchivedModel = MODEL, dim: int = DIM
) -> None:
    """Write one shard."""
    schema = with_metadata(captions_schema(dim), model, OPTIONS)
    columns = {
        "source": [row.source for row in rows],
        "start": [row.start for row in rows],
        "end": [row.start + 10.0 if row.end is None else row.end for row in rows],
        "time": [None if row.time is None else datetime.fromtimestamp(row.time, UTC) for row in rows],
        "caption": [row.caption for row in rows],
        "confidence": [row.confidence for row in rows],
        "score": [row.score for row in rows],
        "beams": [[{"text": text, "score": -1.0} for text in row.beams] for row in rows],
        "tags": [list(row.tags) for row in rows],
        "embedding": pa.FixedSizeListArray.from_arrays(
            pa.array(np.array([row.embedding or (0.0,) * dim for row in rows], np.float16).ravel()),
            dim,
            mask=pa.array([row.embedding is None for row in rows], pa.bool_()),
        ),
        "level": [row.level for row in rows],
        "silent": [row.silent for row in rows],
        "model": [model.sha256] * len(rows),
        "edgecap": ["0"] * len(rows),
        "shard": [number] * len(rows),
    }
    parquet.write_table(pa.table(columns, schema=schema), folder / CAPTIONS / shard_name(number))
