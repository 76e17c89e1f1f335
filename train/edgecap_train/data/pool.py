"""The pool of training sounds: decoded once, read by memory map afterwards.

A pool is a folder with a `manifest.csv` (columns `file`, `set`, `label`, `license`, ...). `decode_pool`
writes all its clips into one int16 file at 32 kHz, so that composing a scene costs a copy.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.file import decode
from edgecap.audio.samples import as_float, to_int16
from edgecap.errors import AudioError
from edgecap.util.files import to_json, write_atomically
from edgecap_train.text.table_file import read_table

SAMPLE_RATE = 32_000
"""Samples per second of a decoded pool: the tagger's rate; the student's front end halves it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PoolClip:
    """One clip of a decoded pool."""

    file: str
    """Path within the pool."""
    set: str
    """Name of the set it belongs to."""
    label: str
    """Words of the source's name; loose."""
    start: int
    """First sample in the decoded file."""
    length: int
    """Samples."""


@dataclass(frozen=True)
class Pool:
    """A decoded pool."""

    clips: tuple[PoolClip, ...]
    samples: NDArray[np.int16]
    """All clips end to end, at 32 kHz, memory-mapped."""

    def read(self, index: int) -> NDArray[np.float32]:
        """Clip `index`, (length,) float32 in [-1, 1]."""
        clip = self.clips[index]
        return as_float(self.samples[clip.start : clip.start + clip.length])[:, 0]


def read_manifest(folder: Path) -> list[dict[str, str]]:
    """Rows of `manifest.csv`. Raises TableError."""
    return read_table(folder / "manifest.csv", ("file", "set", "label"))


def decode_pool(folder: Path, cache: Path, rows: Iterable[dict[str, str]] | None = None) -> Pool:
    """Decode every clip of a pool into `cache`; a cache that is complete is opened as it is.

    A clip that cannot be read is skipped, counted and named in the log. Raises AudioError where none can be read,
    TableError.
    """
    index_path, data_path = cache / "pool.json", cache / "pool.s16"
    if not index_path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        clips, start, skipped = [], 0, 0
        with data_path.open("wb") as out:
            for row in read_manifest(folder) if rows is None else rows:
                try:
                    samples = decode(folder / row["file"], SAMPLE_RATE)
                except AudioError as error:
                    skipped += 1
                    log.warning("skipped: %s", error)
                    continue
                out.write(to_int16(samples).tobytes())
                clips.append(PoolClip(row["file"], row["set"], row["label"], start, samples.size))
                start += samples.size
        if not clips:
            raise AudioError(f"no clip of {folder} could be read; the log names them")
        if skipped:
            log.warning("%d clips of the pool could not be read", skipped)
        write_atomically(index_path, to_json([vars(clip) for clip in clips]))  # last: it marks the cache as complete
    clips = [PoolClip(**entry) for entry in json.loads(index_path.read_text())]
    return Pool(tuple(clips), np.memmap(data_path, np.int16, "r"))
