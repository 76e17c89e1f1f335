"""Archives for tests: made in this process, and read back as rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import soundfile
from pyarrow import parquet

from edgecap.archive.job import ArchiveJob, ArchiveRun, ArchiveSummary
from edgecap.archive.plan import ShardSize
from edgecap.util.progress import no_progress
from support.signals import RATE, noise, tone


def archived(*inputs: object, out: object, model: object, files: int = 2, **more: Any) -> ArchiveSummary:
    """Make an archive of shards of so many files; what it holds then."""
    job = ArchiveJob(
        inputs=tuple(map(str, inputs)), out=str(out), model=str(model), threads=1, size=ShardSize(files), **more
    )
    with ArchiveRun(job, lambda _kind, _message: None, no_progress) as run:
        run.step()
        return run.summary()


def rows_of(out: object, folder: str = "captions") -> list[dict[str, Any]]:
    """All rows of a table of an archive, in the order of the shards."""
    system, path = fsspec.url_to_fs(str(out), use_listings_cache=False)
    names = sorted(system.glob(f"{path}/{folder}/*.parquet"))
    tables = [parquet.read_table(pa.BufferReader(system.cat_file(name))) for name in names]
    return pa.concat_tables(tables).to_pylist() if tables else []


def short_sounds(folder: Path, count: int) -> Path:
    """A folder with so many different sounds of a second, of one window each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        samples = noise(1, seed=number) if number % 2 else tone(1, frequency=200.0 + 50 * number)
        soundfile.write(folder / f"{number:03d}.wav", samples, RATE)
    return folder
