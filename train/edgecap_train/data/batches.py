"""Batches out of shards: in an order that a seed fixes, read ahead by a thread, never ahead of what can be resumed.

A stream has no hidden state. Which clips a batch holds follows from the seed, the pass over the folder and the place in
it; each batch says where the stream stands after it (`Batch.state`), and a stream that is given that place goes on with
the next batch, whatever was read ahead when the process died.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from edgecap.errors import TrainingError
from edgecap_train.data.shards import Shard, read_shard
from edgecap_train.text.captions import Tokenizer

MIXED_SHARDS = 4
"""Shards whose clips are shuffled together."""
READ_AHEAD = 4
"""Batches that wait, read, for the model."""

StreamState = dict[str, Any]
"""Where a stream stands, as plain numbers and names."""
Captions = list[list[int]]


@dataclass(frozen=True)
class Batch:
    """One step's worth of clips for this process, still on the CPU."""

    samples: Tensor
    """(B, n) int16, or whatever else the encoder's `Hearing` takes."""
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


class Stream(Protocol):
    """Where batches come from."""

    def batches(self, start: StreamState | None = None) -> Iterator[Batch]:
        """Endless batches, from a place that an earlier batch named, or from the beginning."""
        ...


def shard_folders(folder: Path) -> list[Path]:
    """The complete shards of a folder, by name. Raises TrainingError where there is none."""
    inside = folder.iterdir() if folder.is_dir() else ()
    names = [path for path in inside if path.is_dir() and path.suffix != ".partial"]
    if not names:
        raise TrainingError(
            f"{folder} holds no shards; edgecap train scenes -o {folder.parent} makes them, for "
            "--audio-only edgecap train pseudo-caption"
        )
    return sorted(names)


class ShardStream:
    """Batches from the shards of a folder; shards that appear later are found at the next pass."""

    def __init__(
        self,
        folder: Path,
        encoder: Tokenizer,
        max_tokens: int,
        rng: np.random.Generator | int,
        size: int = 16,
        *,
        part: tuple[int, int] = (0, 1),
        audio_only: bool = False,
        sound: str = "audio",
    ) -> None:
        """`size` clips a batch over all processes; `part` is (this process, all of them).

        An `audio_only` stream gives no human captions, whatever its shards hold; `sound` as in `read_shard`.
        """
        self.folder, self.encoder, self.max_tokens = folder, encoder, max_tokens
        self.seed = int(rng.integers(2**62)) if isinstance(rng, np.random.Generator) else rng
        self.size, self.audio_only, self.sound = size, audio_only, sound
        self.part = part
        if size % part[1]:
            raise TrainingError(f"a batch of {size} clips cannot be shared evenly by {part[1]} processes")

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
            raise TrainingError(f"the shards of {self.folder} hold fewer clips than a batch of {self.size}")

    def _open(self, name: str) -> tuple[str, Shard]:
        try:
            return name, read_shard(self.folder / name, self.sound)
        except (OSError, ValueError) as error:
            raise TrainingError(f"the shard {self.folder / name} cannot be read ({error}); make it again") from error

    def _batch(self, every: Sequence[tuple[tuple[str, Shard], int]], state: StreamState) -> Batch:
        index, count = self.part
        mine = range(index * len(every) // count, (index + 1) * len(every) // count)
        rows = [(name, shard, row) for (name, shard), row in (every[i] for i in mine)]

        def stack(array: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(shard, array)[row] for _, shard, row in rows]))

        human = [[] if self.audio_only else self._ids(shard.human, row) for _, shard, row in rows]
        return Batch(
            stack("audio"),
            torch.tensor([int(shard.lengths[row]) for _, shard, row in rows]),
            stack("frames"),
            stack("logits"),
            human,
            [self._ids(shard.texts, row) for _, shard, row in rows],
            tuple(mine),
            tuple(f"{name}:{row}" for name, _, row in rows),
            state,
        )

    def _ids(self, texts: Sequence[Sequence[tuple[str, ...]]], row: int) -> Captions:
        """The captions of a clip that the vocabulary can write."""
        if not texts:
            return []
        ids = [self.encoder.encode(words, self.max_tokens) for words in texts[row]]
        return [caption for caption in ids if caption]


class BesideStream:
    """Audio-only clips beside labelled ones: each batch is one of either stream, the labelled clips first."""

    def __init__(self, labelled: Stream, audio_only: Stream, labelled_size: int) -> None:
        """`labelled_size`: clips of a labelled batch over all processes."""
        self.labelled, self.audio_only, self.labelled_size = labelled, audio_only, labelled_size

    def batches(self, start: StreamState | None = None) -> Iterator[Batch]:
        """See `Stream`."""
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
            rows=(*first.rows, *(self.labelled_size + row for row in second.rows)),
            clips=first.clips + second.clips,
            state={"labelled": first.state, "audio_only": second.state},
        )


class ReadAhead:
    """Batches read by a thread while the model works; counts the seconds that the model waited for them."""

    def __init__(self, stream: Stream, start: StreamState | None = None) -> None:
        self.waited = 0.0
        """Seconds that `__next__` waited, in all."""
        self._queue: queue.Queue[Batch | BaseException] = queue.Queue(READ_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(stream, start), name="batches", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
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

    def _read(self, stream: Stream, start: StreamState | None) -> None:
        try:
            for batch in stream.batches(start):
                self._put(batch)
                if self._stopped.is_set():
                    return
        except BaseException as error:  # handed to whoever waits for a batch
            self._put(error)

    def _put(self, item: Batch | BaseException) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return
