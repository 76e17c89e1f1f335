"""Batches out of packed shards, of which each process reads its own.

The clips of a pass, in an order that the seed fixes, are dealt to as many lanes as there are shards to read at once (at
most 16); each batch has the next clips of every lane. A process has some of the batch's rows and so some of the lanes,
and reads their shards alone; only one in which its lanes begin or end may be read by a neighbour, too. Neither lanes
nor order depend on the number of processes: a clip's place follows from the seed, the pass and the batch's number.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from edgecap.errors import TrainingDataError
from edgecap_train.data.batches import Batch, StreamState, caption_ids, own_rows
from edgecap_train.data.packed import OpenShard, PackedData
from edgecap_train.text.tokenizer import Tokenizer

MOST_LANES = 16
AHEAD = 32
"""Batches before its first clip is needed that a shard is read."""
Place = tuple[int, int]
"""A shard's place in the index, and a clip's in the shard."""


class PackedStream:
    """Batches from packed shards."""

    def __init__(
        self,
        data: PackedData,
        tokenizer: Tokenizer,
        max_tokens: int,
        seed: int,
        size: int,
        *,
        part: tuple[int, int] = (0, 1),
        audio_only: bool = False,
    ) -> None:
        """As `ShardStream`. Raises TrainingDataError where the shards hold fewer clips than a batch."""
        self.data, self.tokenizer, self.max_tokens = data, tokenizer, max_tokens
        self.seed, self.size, self.audio_only = seed, size, audio_only
        self.rows = own_rows(size, part)
        self._counts = np.array([shard.clips for shard in data.shards])
        self.lanes = max(n for n in range(1, min(MOST_LANES, len(data.shards)) + 1) if size % n == 0)
        self._width = size // self.lanes
        self.per_pass = int(self._counts.sum()) // self.lanes // self._width
        """Batches of a pass; what is left of it are fewer clips than two batches, others in each."""
        if not self.per_pass:
            raise TrainingDataError(f"the shards of {data.address} hold fewer clips than a batch of {size}")

    def batches(self, start: StreamState | None = None) -> Iterator[Batch]:
        """Endless batches. Raises TrainingDataError for a shard that cannot be read, and for other data than before."""
        number, done = (start["pass"], start["batches"]) if start else (0, 0)
        digests = [shard.sha256[:16] for shard in self.data.shards]
        if start and start["shards"] != digests:
            raise TrainingDataError(
                f"{self.data.address} was packed again since this run began; name another folder with --out"
            )
        opened: dict[int, Future[OpenShard]] = {}
        with ThreadPoolExecutor(1, "shards") as reader:
            try:
                while True:
                    order = _Pass(self.seed, number, self._counts)
                    while done < self.per_pass:
                        self._prepare(order, done, opened, reader)
                        done += 1
                        state = {"pass": number, "batches": done, "shards": digests}
                        yield self._batch(self.places(order, done - 1), opened, state)
                    number, done = number + 1, 0
            finally:
                reader.shutdown(cancel_futures=True)
                for future in opened.values():
                    _close(future)

    def places(self, order: _Pass, batch: int) -> list[Place]:
        """Where the clips of this process in a batch of a pass are."""
        lane_clips = self.per_pass * self._width
        return [
            order.place(row // self._width * lane_clips + batch * self._width + row % self._width) for row in self.rows
        ]

    def _prepare(
        self, order: _Pass, batch: int, opened: dict[int, Future[OpenShard]], reader: ThreadPoolExecutor
    ) -> None:
        """Have the shards of this batch and of the next ones read, in that order, and give others back."""
        numbers = range(batch, min(batch + AHEAD, self.per_pass))
        near = dict.fromkeys(shard for number in numbers for shard, _ in self.places(order, number))
        for shard in set(opened) - set(near):
            _close(opened.pop(shard))
        for shard in near:
            if shard not in opened:
                opened[shard] = reader.submit(self.data.open, self.data.shards[shard])

    def _batch(self, places: list[Place], opened: dict[int, Future[OpenShard]], state: StreamState) -> Batch:
        arrays: dict[str, list[Tensor]] = {"audio": [], "frames": [], "logits": []}
        about, clips = [], []
        for number, row in places:
            shard, entry = opened[number].result(), self.data.shards[number]
            try:
                for name, tensors in arrays.items():
                    tensors.append(torch.from_numpy(shard.array(row, name)))
                about.append(shard.about(row))
            except (KeyError, OSError, ValueError) as error:
                raise TrainingDataError(
                    f"the clip {row} of {self.data.address}/{entry.name} cannot be read ({error}); "
                    "run edgecap train pack again"
                ) from error
            clips.append(f"{entry.name.removesuffix('.tar')}:{row}")
        human = [[] if self.audio_only else clip.get("human", []) for clip in about]
        return Batch(
            torch.stack(arrays["audio"]),
            torch.tensor([clip["length"] for clip in about]),
            torch.stack(arrays["frames"]),
            torch.stack(arrays["logits"]),
            [caption_ids(texts, self.tokenizer, self.max_tokens) for texts in human],
            [caption_ids(clip["texts"], self.tokenizer, self.max_tokens) for clip in about],
            tuple(self.rows),
            tuple(clips),
            state,
            [caption_ids(clip.get("references", []), self.tokenizer, self.max_tokens) for clip in about],
        )


class _Pass:
    """The order of all clips in one pass: shards one after the other, shuffled, and the clips of each shuffled."""

    def __init__(self, seed: int, number: int, counts: np.ndarray) -> None:
        self._key, self._counts = (seed, number), counts
        self._order = np.random.default_rng(self._key).permutation(len(counts))
        self._ends = np.cumsum(counts[self._order])
        self._rows: dict[int, np.ndarray] = {}

    def place(self, clip: int) -> Place:
        """Where the clip with this number in the pass is."""
        at = int(np.searchsorted(self._ends, clip, side="right"))
        shard = int(self._order[at])
        if shard not in self._rows:
            self._rows[shard] = np.random.default_rng((*self._key, shard)).permutation(self._counts[shard])
        return shard, int(self._rows[shard][clip - (self._ends[at] - self._counts[shard])])


def _close(future: Future[OpenShard]) -> None:
    """Close a shard as soon as it is there."""
    if not future.cancel():
        future.add_done_callback(lambda done: None if done.exception() else done.result().close())
