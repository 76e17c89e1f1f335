"""A search by sound: the rows whose embeddings are nearest to a clip's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgecap.archive_search.conditions import Conditions
from edgecap.archive_search.embeddings import Embeddings
from edgecap.archive_search.nearest import Floats, unit
from edgecap.archive_search.parquet import ArchiveSource
from edgecap.archive_search.search import COLUMNS, Searcher, SearchResults, hit
from edgecap.archive_search.source import Hit, Source
from edgecap.errors import AudioError, BundleError, DataError

if TYPE_CHECKING:
    from edgecap.captioner import Captioner

CLIP_SECONDS = 60.0
"""Of a clip, that are listened to."""


def captioner_of(source: ArchiveSource, model: str | None, threads: int | None = None) -> Captioner:
    """The model that an archive was made with; `model` says where it is, if it is not installed under its own name.

    Raises BundleError where it is missing, or another one.
    """
    from edgecap.captioner import Captioner

    wanted = source.settings.model
    try:
        captioner = Captioner.load(model or wanted.name, threads=threads)
    except BundleError as error:
        raise BundleError(
            f"--like needs the archive's model {wanted.name} ({error}); name its folder with --model"
        ) from error
    if captioner.bundle.identity != wanted.sha256:
        raise BundleError(
            f"the archive was made with another model, {wanted.name} {wanted.sha256[:12]}, than "
            f"{captioner.bundle.folder} {captioner.bundle.identity[:12]}; name that one's folder with --model"
        )
    return captioner


def clip_vector(captioner: Captioner, clip: str | Path) -> Floats:
    """What is compared of a clip: the mean embedding (dim,) of its windows that are not silent.

    Raises AudioError for one that cannot be read or is silent.
    """
    from edgecap.audio.file import decode
    from edgecap.audio.samples import loudest_level

    manifest = captioner.manifest
    rate, length = manifest.front_end.sample_rate, round(captioner.window * manifest.front_end.sample_rate)
    samples = decode(clip, rate, CLIP_SECONDS)
    starts = [start for start in range(0, samples.size, length) if start == 0 or samples.size - start >= rate]
    windows = [samples[start : start + length] for start in starts]
    heard = [window for window in windows if loudest_level(window, rate) >= manifest.silence.threshold_dbfs]
    if not heard:
        raise AudioError(f"{clip} is silent; name a clip in which something is heard")
    vectors = np.stack([captioner.encode_samples(window).clip_embedding for window in heard])
    return np.asarray(unit(vectors.astype(np.float32)).mean(axis=0), np.float32)


class SoundSearcher:
    """Searches an archive by sound; one for many searches keeps the matrix open between them."""

    def __init__(self, source: ArchiveSource, notify: Callable[..., None]) -> None:
        """Raises DataError, OutputError."""
        self._source, self._words = source, Searcher(source)
        self._embeddings = Embeddings(source, notify)
        self.matrix = self._embeddings.matrix()
        """The embeddings, a row each."""

    def nearest(self, vector: Floats, conditions: Conditions, limit: int, *, words: str | None = None) -> SearchResults:
        """The rows nearest to a clip's vector, among those that fit and, where `words` are given, have one of them."""
        if vector.shape != (self._source.settings.embedding_dim,):
            dim = self._source.settings.embedding_dim
            raise DataError(f"the clip has an embedding of {vector.size} values, the archive's have {dim}")
        condition, values = conditions.sql(self._source)
        table = "windows"
        if words is not None:
            if not self._words.rank(words, condition, values, need_all=False):
                return SearchResults((), 0)
            table = "windows JOIN ranks ON ranks.caption = windows.caption"
        among = None
        if words is not None or conditions != Conditions():
            answer = self._source.columns(f"SELECT shard, number FROM {table} WHERE {condition}", values)
            firsts = self._embeddings.firsts[np.searchsorted(self._embeddings.numbers, answer["shard"])]
            among = np.sort(np.asarray(firsts + answer["number"], np.int64))
        rests = self.matrix.rests if among is None else self.matrix.rests[among]
        rows, cosines = self.matrix.nearest(vector, limit, among)
        hits = self._hits(rows, cosines)
        return SearchResults(hits, int((rests >= 0).sum()))

    def _hits(self, rows: NDArray[np.int64], cosines: Floats) -> tuple[Hit, ...]:
        at = np.searchsorted(self._embeddings.firsts, rows, side="right") - 1
        shards = [self._embeddings.numbers[index] for index in at]
        numbers = (rows - self._embeddings.firsts[at]).tolist()
        self._source.put("near", {"near_shard": shards, "near_number": numbers, "near_order": list(range(len(rows)))})
        answer = self._source.rows(
            f"SELECT {COLUMNS}, near_order FROM windows JOIN near ON shard = near_shard AND number = near_number "
            f"WHERE shard IN ({', '.join(map(str, sorted(set(shards)))) or 'NULL'}) ORDER BY near_order"
        )
        return tuple(hit(row, similarity=float(cosines[order])) for *row, order in answer)


def needs_archive(source: Source) -> ArchiveSource:
    """Raises DataError for a journal, which has no embeddings."""
    if not isinstance(source, ArchiveSource):
        raise DataError(
            f"{source.address} is a journal, which has no embeddings, so it cannot be searched by sound; search it by "
            "words, or caption the kept sounds with edgecap archive"
        )
    return source
