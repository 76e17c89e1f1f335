"""Batches out of shards: in an order that a seed fixes, read ahead by a thread.

A stream has no hidden state. Which clips a batch holds follows from the seed, the pass over the folder and the place in
it; each batch holds the position of the stream after it (`Batch.state`), and a stream that is given that position
continues with the next batch, whatever was read ahead when the process died.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from edgecap.errors import RecipeError, TrainingDataError
from edgecap_train.data.shards import Shard, read_shard, shard_folders
from edgecap_train.text.tokenizer import Tokenizer

MIXED_SHARDS = 4
"""Shards whose clips are shuffled together."""
READ_AHEAD = 4
"""Batches that are kept ready for the model."""

StreamState = dict[str, Any]
"""Position in a stream, as plain numbers and names."""
Captions = list[list[int]]


@dataclass(frozen=True)
class Batch:
    """One step's worth of clips for this process, still on the CPU."""

    samples: Tensor
    """(B, n) int16, or the cached array in its place."""
    lengths: Tensor
    """(B,) samples that are not padding."""
    frames: Tensor
    """(B, 32, width) float16, the teacher's."""
    logits: Tensor
    """(B, 527) float16, the teacher's tags."""
    human: list[Captions]
    """Token ids of each clip's human captions; the end token is last. Empty for audio-only clips."""
    pseudo: list[Captions]
    """The same of the teacher's captions, the best first."""
    rows: tuple[int, ...]
    """Place of each clip in the batch of all processes."""
    clips: tuple[str, ...]
    """Where each clip comes from, "shard:row"."""
    state: StreamState
    references: list[Captions] = field(default_factory=list)
    """Token ids of what people wrote about similar clips; none for some clips."""


class TrainingBatch(Protocol):
    """What the training loop needs of a batch of any kind."""

    @property
    def clips(self) -> tuple[str, ...]:
        """Names of the clips, for errors."""

    @property
    def state(self) -> StreamState:
        """Position of the stream after this batch."""


Item = TypeVar("Item", bound=TrainingBatch)


def sliced(batch: Item, rows: slice) -> Item:
    """The clips `rows` of a batch of any kind: a dataclass whose fields but `state` hold something for each clip."""
    fields = {name: value[rows] for name, value in vars(batch).items() if name != "state"}
    return replace(cast(Any, batch), **fields)  # type: ignore[no-any-return]


Item_co = TypeVar("Item_co", bound=TrainingBatch, covariant=True)


class Stream(Protocol[Item_co]):
    """Where batches come from."""

    @property
    def size(self) -> int:
        """Clips of a batch over all processes."""

    def batches(self, start: StreamState | None = None) -> Iterator[Item_co]:
        """Endless batches, from the `state` of an earlier batch, or from the beginning."""


def own_rows(size: int, part: tuple[int, int]) -> range:
    """The places in a batch of `size` that belong to one process; `part` is (this process, all of them).

    Raises RecipeError where the processes cannot share it evenly.
    """
    index, count = part
    if size % count:
        raise RecipeError(f"optimizer.batch is {size} and cannot be shared evenly by {count} processes")
    return range(index * size // count, (index + 1) * size // count)


class ShardStream:
    """Batches from the shards of a folder; shards that appear later are found at the next pass."""

    def __init__(
        self,
        folder: Path,
        tokenizer: Tokenizer,
        max_tokens: int,
        seed: int,
        size: int = 16,
        *,
        part: tuple[int, int] = (0, 1),
        audio_only: bool = False,
        sound: str = "audio",
    ) -> None:
        """`size` clips a batch over all processes; `part` is (this process, all of them).

        An `audio_only` stream leaves out the human captions of its shards; `sound` as in `read_shard`.
        """
        self.folder, self.tokenizer, self.max_tokens = folder, tokenizer, max_tokens
        self.seed, self.size, self.audio_only, self.sound = seed, size, audio_only, sound
        self.part, self.rows = part, own_rows(size, part)

    def batches(self, start: StreamState | None = None) -> Iterator[Batch]:
        """Endless batches; four shards are mixed at a time, each read once before the folder is looked at again."""
        number, skip, names = (start["pass"], start["batches"], start["shards"]) if start else (0, 0, None)
        while True:
            if names is None:
                names = [path.name for path in shard_folders(self.folder)]
            yield from self._pass(number, names, skip)
            number, skip, names = number + 1, 0, None

    def _pass(self, number: int, names: list[str], skip: int) -> Iterator[Batch]:
        """The batches of one pass over the shards `names`, from batch `skip` on."""
        order = [names[i] for i in np.random.default_rng((self.seed, number)).permutation(len(names))]
        done = 0
        for group in range(0, len(order), MIXED_SHARDS):
            shards = [self._open(name) for name in order[group : group + MIXED_SHARDS]]
            rows = [(shard, row) for shard in shards for row in range(len(shard[1].lengths))]
            shuffled = np.random.default_rng((self.seed, number, group)).permutation(len(rows))
            for at in range(0, len(rows) - self.size + 1, self.size):
                done += 1
                if done <= skip:
                    continue
                state = {"pass": number, "batches": done, "shards": names}
                yield self._batch([rows[i] for i in shuffled[at : at + self.size]], state)
        if not done:
            raise TrainingDataError(f"the shards of {self.folder} hold fewer clips than a batch of {self.size}")

    def _open(self, name: str) -> tuple[str, Shard]:
        try:
            return name, read_shard(self.folder / name, self.sound)
        except (OSError, ValueError) as error:
            raise TrainingDataError(
                f"the shard {self.folder / name} cannot be read ({error}); make it again"
            ) from error

    def _batch(self, every: Sequence[tuple[tuple[str, Shard], int]], state: StreamState) -> Batch:
        rows = [(name, shard, row) for (name, shard), row in (every[i] for i in self.rows)]

        def stack(array: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(shard, array)[row] for _, shard, row in rows]))

        human = [self._ids(shard.human, row, self.audio_only) for _, shard, row in rows]
        return Batch(
            stack("audio"),
            torch.tensor([int(shard.lengths[row]) for _, shard, row in rows]),
            stack("frames"),
            stack("logits"),
            human,
            [self._ids(shard.texts, row) for _, shard, row in rows],
            tuple(self.rows),
            tuple(f"{name}:{row}" for name, _, row in rows),
            state,
            [self._ids(shard.references, row) for _, shard, row in rows],
        )

    def _ids(self, texts: Sequence[Sequence[tuple[str, ...]]], row: int, none: bool = False) -> Captions:
        return [] if none or not texts else caption_ids(texts[row], self.tokenizer, self.max_tokens)


def caption_ids(texts: Sequence[Sequence[str]], tokenizer: Tokenizer, max_tokens: int) -> Captions:
    """A clip's captions (words) as token ids, those that the vocabulary can write."""
    ids = [tokenizer.encode(tuple(words), max_tokens) for words in texts]
    return [caption for caption in ids if caption]


class BesideStream:
    """Audio-only clips beside labelled ones: each batch is one of either stream, the labelled clips first."""

    def __init__(self, labelled: Stream[Batch], audio_only: Stream[Batch]) -> None:
        self.labelled, self.audio_only = labelled, audio_only
        self.size = labelled.size + audio_only.size

    def batches(self, start: StreamState | None = None) -> Iterator[Batch]:
        """Endless pairs of a labelled and an audio-only batch, joined."""
        places = (start["labelled"], start["audio_only"]) if start else (None, None)
        pairs = zip(self.labelled.batches(places[0]), self.audio_only.batches(places[1]), strict=True)
        for first, second in pairs:
            yield self._joined(first, second)

    def _joined(self, first: Batch, second: Batch) -> Batch:
        joined = {
            name: torch.cat([getattr(first, name), getattr(second, name)])
            for name in ("samples", "lengths", "frames", "logits")
        }
        return replace(
            first,
            **joined,
            human=first.human + second.human,
            pseudo=first.pseudo + second.pseudo,
            rows=(*first.rows, *(self.labelled.size + row for row in second.rows)),
            clips=first.clips + second.clips,
            state={"labelled": first.state, "audio_only": second.state},
            references=first.references + second.references,
        )


class ReadAhead(Generic[Item]):
    """Batches read by a thread while the model works; counts the seconds that the model waited for them."""

    def __init__(self, stream: Stream[Item], start: StreamState | None = None) -> None:
        self.waited = 0.0
        """Seconds that `__next__` waited, in all."""
        self._queue: queue.Queue[Item | BaseException] = queue.Queue(READ_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(stream, start), name="batches", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        """The next batch; raises what the stream raised."""
        began = time.monotonic()
        item = self._queue.get()
        self.waited += time.monotonic() - began
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """End the thread."""
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()

    def _read(self, stream: Stream[Item], start: StreamState | None) -> None:
        try:
            for batch in stream.batches(start):
                self._put(batch)
                if self._stopped.is_set():
                    return
        except BaseException as error:  # raised again by __next__
            self._put(error)

    def _put(self, item: Item | BaseException) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return
