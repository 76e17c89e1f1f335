"""What a student learns from: a folder of shards, or the address of packed ones."""

from __future__ import annotations

from pathlib import Path

from edgecap.archive.addresses import local_path
from edgecap.bundle.vocabulary import Vocabulary
from edgecap_train.data.batches import Batch, ShardStream, Stream
from edgecap_train.data.packed import PackedData, is_packed
from edgecap_train.data.packed_stream import PackedStream
from edgecap_train.data.shards import Shard, data_vocabulary, read_shard, shard_folders
from edgecap_train.text.tokenizer import Tokenizer


class TrainingData:
    """Scenes or clips with captions, wherever they are."""

    def __init__(self, address: str | Path) -> None:
        """Raises TrainingDataError where nothing can be read, and for an address what `filesystem` raises."""
        self.address = str(address)
        self.packed = PackedData(self.address) if is_packed(self.address) else None
        self.folder = local_path(self.address)
        self.vocabulary: Vocabulary = self.packed.vocabulary if self.packed else data_vocabulary(self.folder)

    def first(self) -> Shard:
        """A shard to take sizes and statistics from. Raises TrainingDataError."""
        return self.packed.first() if self.packed else read_shard(shard_folders(self.folder / "shards")[0])

    def stream(
        self,
        tokenizer: Tokenizer,
        max_tokens: int,
        seed: int,
        size: int,
        *,
        part: tuple[int, int] = (0, 1),
        audio_only: bool = False,
    ) -> Stream[Batch]:
        """Batches for this process; arguments as those of `ShardStream`. Raises TrainingDataError."""
        if self.packed:
            return PackedStream(self.packed, tokenizer, max_tokens, seed, size, part=part, audio_only=audio_only)
        folder = self.folder / "shards"
        return ShardStream(folder, tokenizer, max_tokens, seed, size, part=part, audio_only=audio_only)
