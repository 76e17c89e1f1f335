"""The embeddings of an archive as one matrix, in `OUT/.search/KEY`, or in the cache where OUT is not local.

KEY is a hash of what the matrix was made from (size and end of each shard's file), so one that is stale is never
opened. It is built in a folder of another name and renamed when it is complete. Small archives have none.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.archive.addresses import local_path, scheme_of
from edgecap.archive.schema import CAPTIONS, shard_name
from edgecap.archive.store import open_store
from edgecap.archive.tables import read_table
from edgecap.archive_search.nearest import SAMPLE, EmbeddingMatrix, Floats, directions, parts
from edgecap.archive_search.parquet import ArchiveSource
from edgecap.errors import DataError, OutputError, reason_of
from edgecap.pull.cache import cache_root
from edgecap.types import Notify

FORMAT = b"1"
LEAST_STORED = 20_000
"""Windows from which on the matrix is kept."""
SAMPLED_SHARDS = 24
END_BYTES = 4096
"""Of a shard's file: its footer has the sizes and the statistics of what is in it."""
BUILDING = "building-"
ABANDONED_SECONDS = 86_400.0


class Embeddings:
    """Reads an archive's embeddings; a row's number counts the rows of all shards in order."""

    def __init__(self, source: ArchiveSource, notify: Notify) -> None:
        self._source, self._notify = source, notify
        self._store = open_store(source.address)
        self._dim = source.settings.embedding_dim
        counts = dict(source.rows("SELECT shard, count(*) FROM windows GROUP BY shard"))
        self.numbers = sorted(number for number in counts if isinstance(number, int))
        """Numbers of the shards that have rows."""
        self.firsts = np.cumsum([0, *(counts[number] for number in self.numbers)])
        """Number of the first row of each of them, and of all rows."""

    def matrix(self) -> EmbeddingMatrix:
        """The matrix of the archive as it is now. Raises DataError, OutputError."""
        if not self.numbers:  # not one of its sounds could be read
            nothing = np.empty((0, self._dim), np.float32)
            return EmbeddingMatrix(
                nothing.astype(np.float16), nothing, nothing[:, 0], np.eye(self._dim, dtype=np.float32)
            )
        if self.firsts[-1] < LEAST_STORED:
            rows, heads, rests, axes = zip(*self._blocks(), strict=True)
            return EmbeddingMatrix(np.concatenate(rows), np.concatenate(heads), np.concatenate(rests), axes[0])
        folder = self._folder()
        place = folder / self._key()
        if not place.is_dir():
            self._notify(
                "note", f"reading the embeddings of {self.firsts[-1]} windows, once; they are kept in {folder}"
            )
            try:
                self._build(folder, place)
            except OSError as error:
                raise OutputError(
                    f"the embeddings cannot be kept in {folder} ({reason_of(error)}); free space, "
                    "or give the rights to write there"
                ) from error
        return self._open(place)

    def _folder(self) -> Path:
        """Where matrices of this archive are kept."""
        address = self._source.address
        if not scheme_of(address):
            path = local_path(address).expanduser().absolute()
            if os.access(path, os.W_OK):
                return path / ".search"
            address = str(path)
        return cache_root() / "search" / hashlib.sha256(address.encode(errors="replace")).hexdigest()[:16]

    def _key(self) -> str:
        names = list(self._source.shards)
        digest = hashlib.sha256(FORMAT)
        ends = self._store.ends([f"{CAPTIONS}/{name}" for name in names], END_BYTES)
        for name, end in zip(names, ends, strict=True):
            digest.update(f"{name} {self._source.shards[name]}\n".encode() + hashlib.sha256(end).digest())
        return digest.hexdigest()[:32]

    def _build(self, folder: Path, place: Path) -> None:
        """Raises OSError, DataError; nothing is left then."""
        folder.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=BUILDING, dir=folder))
        try:
            with (
                (building / "rows").open("wb") as rows,
                (building / "heads").open("wb") as heads,
                (building / "rests").open("wb") as rests,
            ):
                for *blocks, axes in self._blocks():  # written, not mapped: a full disk is an error then, and no signal
                    for file, block in zip((rows, heads, rests), blocks, strict=True):
                        file.write(np.ascontiguousarray(block).data)
                    (building / "axes").write_bytes(axes.tobytes())
                for file in (rows, heads, rests):
                    file.flush()
                    os.fsync(file.fileno())
            with suppress(FileExistsError, OSError):
                building.rename(place)  # another process may have been faster
        finally:
            shutil.rmtree(building, ignore_errors=True)
        for other in folder.iterdir():
            old = time.time() - other.stat().st_mtime > ABANDONED_SECONDS
            if other != place and (old or not other.name.startswith(BUILDING)):
                shutil.rmtree(other, ignore_errors=True)

    def _open(self, place: Path) -> EmbeddingMatrix:
        count, dim = int(self.firsts[-1]), self._dim
        try:
            axes = np.fromfile(place / "axes", np.float32, count=dim * dim).reshape(dim, -1)
            shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
                "rows": (np.float16, (count, dim)),
                "heads": (np.float32, (count, axes.shape[1])),
                "rests": (np.float32, (count,)),
            }
            for name, (kind, shape) in shapes.items():
                if (place / name).stat().st_size != np.dtype(kind).itemsize * int(np.prod(shape)):
                    raise ValueError(f"{name} has another size")
            maps = {name: np.memmap(place / name, kind, "r", shape=shape) for name, (kind, shape) in shapes.items()}
        except (OSError, ValueError) as error:
            raise DataError(f"{place} is damaged ({reason_of(error)}); remove it, and search again") from error
        return EmbeddingMatrix(maps["rows"], maps["heads"], maps["rests"], axes)

    def _blocks(self) -> Iterator[tuple[NDArray[np.float16], Floats, Floats, Floats]]:
        """Rows, heads and rests of each shard, and the axes, the same for all."""
        step = -(-len(self.numbers) // SAMPLED_SHARDS)
        sampled = []
        for number in self.numbers[::step]:
            embeddings, silent = self._read(number)
            sampled.append(embeddings[~silent])
        sample = np.concatenate(sampled)
        axes = directions(sample[:: -(-len(sample) // SAMPLE) or 1])
        for number in self.numbers:
            yield *parts(*self._read(number), axes), axes

    def _read(self, shard: int) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        """The embeddings (n, dim) of a shard, and which rows have none. Raises DataError."""
        import pyarrow as pa

        name = f"{CAPTIONS}/{shard_name(shard)}"
        try:
            table = read_table(self._store.read(name) or b"", ["embedding"])
            column = table.column(0).combine_chunks()
            column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
            flat = column.values.to_numpy(zero_copy_only=False).reshape(-1, self._dim)
            place = self.numbers.index(shard)
            rows = self.firsts[place + 1] - self.firsts[place]
            if not len(flat) == len(column) == rows or flat.dtype != np.float16:
                raise ValueError("its embeddings have another shape")
            return flat, np.asarray(column.is_null().to_numpy(zero_copy_only=False))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(
                f"{self._source.address}/{name} cannot be read ({reason_of(error)}); where it is damaged remove it and "
                "run edgecap archive again"
            ) from error
