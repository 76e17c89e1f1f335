"""Training data at an address, as WebDataset shards: `0000.tar` … in a folder or an object store.

Beside the shards are `shards.json` (name, clips, bytes and SHA-256 of each) and `vocabulary.json`. In a shard, clip 17
is `000017.audio.npy`, `.frames.npy`, `.logits.npy` (a row of the arrays of `edgecap_train.data.shards`) and
`000017.json` with its length and captions. Shards are not compressed, so that a clip is read alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgecap.archive.addresses import filesystem, local_path, scheme_of, why
from edgecap.archive.store import open_store
from edgecap.bundle.vocabulary import Vocabulary
from edgecap.errors import EdgecapError, TrainingDataError
from edgecap.util.files import to_json
from edgecap.util.progress import Progress
from edgecap_train.data.shards import Shard, data_vocabulary, read_shard, shard_folders

log = logging.getLogger(__name__)
INDEX, VOCABULARY = "shards.json", "vocabulary.json"
FORMAT_VERSION = 1
WAITS = (1.0, 5.0, 20.0)
"""Seconds before each further try to read what cannot be read."""
BLOCK = 1 << 20
ARRAYS = ("audio", "frames", "logits")
FIRST = 1000
"""Clips that a run takes sizes and statistics from."""
Answer = TypeVar("Answer")


class PackedShard(msgspec.Struct, frozen=True):
    """A shard in the index."""

    name: str
    clips: int
    bytes: int
    sha256: str


class PackedIndex(msgspec.Struct, frozen=True):
    """`shards.json`."""

    format_version: int
    shards: tuple[PackedShard, ...]


class OpenShard:
    """A shard whose clips can be read; one from elsewhere is a file without a name, which ends with the process."""

    def __init__(self, file: IO[bytes]) -> None:
        """Raises tarfile.TarError for what is none."""
        self._file = file
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            self._members = {member.name: (member.offset_data, member.size) for member in archive}

    def array(self, row: int, name: str) -> NDArray[Any]:
        """One array of a clip. Raises KeyError, OSError and ValueError for a shard that does not hold it."""
        return np.asarray(np.load(io.BytesIO(self._read(f"{row:06d}.{name}.npy")), allow_pickle=False))

    def about(self, row: int) -> dict[str, Any]:
        """A clip's "length" and "texts", and "human" and "references" where its shard has them. Raises as `array`."""
        document: dict[str, Any] = json.loads(self._read(f"{row:06d}.json"))
        return document

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _read(self, name: str) -> bytes:
        offset, size = self._members[name]
        self._file.seek(offset)
        return self._file.read(size)


class PackedData:
    """The shards at an address."""

    def __init__(self, address: str) -> None:
        """Reads the index and the vocabulary. Raises TrainingDataError, and what `filesystem` raises."""
        self.address = address.rstrip("/")
        try:
            index = msgspec.json.decode(self._tried(INDEX, lambda: self._content(INDEX)), type=PackedIndex)
            words = self._tried(VOCABULARY, lambda: self._content(VOCABULARY))
            self.vocabulary: Vocabulary = msgspec.json.decode(words, type=tuple[str, ...])
        except msgspec.DecodeError as error:
            raise TrainingDataError(
                f"{self.address} holds a damaged index or vocabulary ({error}); run edgecap train pack again"
            ) from error
        if index.format_version != FORMAT_VERSION or not index.shards:
            raise TrainingDataError(f"{self.address} is empty, or packed by another version; run edgecap train pack")
        self.shards = index.shards

    def first(self) -> Shard:
        """The first clips of the first shard, without captions, in memory. Raises TrainingDataError."""
        shard = self.open(self.shards[0])
        try:
            rows = range(min(FIRST, self.shards[0].clips))
            audio, frames, logits = (np.stack([shard.array(row, name) for row in rows]) for name in ARRAYS)
            lengths = np.array([shard.about(row)["length"] for row in rows], np.int64)
        finally:
            shard.close()
        return Shard(audio, frames, logits, lengths, texts=[])

    def open(self, shard: PackedShard) -> OpenShard:
        """A shard, copied to this machine where it is elsewhere.

        Raises TrainingDataError where several tries find it missing, unreachable or not as the index says.
        """
        return self._tried(shard.name, lambda: self._opened(shard))

    def _opened(self, shard: PackedShard) -> OpenShard:
        with ExitStack() as opened:
            file, size, digest = self._file(shard, opened)
            if (size, digest) != (shard.bytes, shard.sha256):
                raise ValueError(
                    f"it has {size} of {shard.bytes} bytes" if size != shard.bytes else "its content is another one"
                )
            made = OpenShard(file)
            opened.pop_all()
            return made

    def _file(self, shard: PackedShard, opened: ExitStack) -> tuple[IO[bytes], int, str]:
        """A shard's file on this machine, its size and SHA-256; of one that was here already only the size is read."""
        path = f"{self.address}/{shard.name}"
        if not scheme_of(path):
            here: IO[bytes] = opened.enter_context(local_path(path).open("rb"))
            return here, here.seek(0, io.SEEK_END), shard.sha256
        system, place = filesystem(path)
        system.invalidate_cache()
        copy: IO[bytes] = opened.enter_context(tempfile.TemporaryFile(prefix="edgecap-"))  # noqa: SIM115
        digest = hashlib.sha256()
        with system.open(place, "rb") as source:
            while block := source.read(BLOCK):
                copy.write(block)
                digest.update(block)
        return copy, copy.tell(), digest.hexdigest()

    def _content(self, name: str) -> bytes:
        path = f"{self.address}/{name}"
        if not scheme_of(path):
            return local_path(path).read_bytes()
        system, place = filesystem(path)
        return bytes(system.cat_file(place))

    def _tried(self, name: str, read: Callable[[], Answer]) -> Answer:
        for wait in (*WAITS, None):
            try:
                return read()
            except EdgecapError:
                raise
            except Exception as error:  # each library has its own kinds of errors
                reason = why(error, f"{self.address}/{name}")
                if wait is None:
                    raise TrainingDataError(
                        f"{self.address}/{name} cannot be read, {len(WAITS) + 1} times ({reason}); check the address, "
                        "the network and your rights, and type the same command to resume"
                    ) from error
                log.warning("%s/%s cannot be read (%s); next try in %g s", self.address, name, reason, wait)
                time.sleep(wait)
        raise AssertionError


def is_packed(address: str) -> bool:
    """Whether an address holds packed shards rather than folders: any that is not of this machine is taken to."""
    return bool(scheme_of(address)) or (local_path(address) / INDEX).is_file()


def pack(data: Path, address: str, *, progress: Progress) -> int:
    """Write the shards of the folder `data` as WebDataset shards to an address; how many of them were new.

    A shard that is there already, with the same content, is not written again; the index is written last. `progress`
    counts shards. Raises TrainingDataError where `data` holds no shards, OutputError.
    """
    folders, store = shard_folders(data / "shards"), open_store(address)
    store.write(VOCABULARY, to_json(data_vocabulary(data)).encode())
    there, before = store.sizes(), _before(store.read(INDEX))
    shards, new = [], 0
    for number, folder in enumerate(folders):
        clips, content = _packed(folder)
        shard = PackedShard(f"{folder.name}.tar", clips, len(content), hashlib.sha256(content).hexdigest())
        if there.get(shard.name) != shard.bytes or before.get(shard.name) != shard.sha256:
            store.write(shard.name, content)
            new += 1
        shards.append(shard)
        progress(number + 1, len(folders))
    store.write(INDEX, msgspec.json.format(msgspec.json.encode(PackedIndex(FORMAT_VERSION, tuple(shards)))))
    return new


def _before(index: bytes | None) -> dict[str, str]:
    """Name → SHA-256 of the shards that an index names."""
    try:
        return {shard.name: shard.sha256 for shard in msgspec.json.decode(index or b"", type=PackedIndex).shards}
    except msgspec.DecodeError:
        return {}


def _packed(folder: Path) -> tuple[int, bytes]:
    """How many clips a shard has, and all of it as a tar, always the same for the same clips."""
    shard, content = read_shard(folder), io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for row in range(len(shard.lengths)):
            for name, data in _members(shard, row):
                member = tarfile.TarInfo(f"{row:06d}.{name}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return len(shard.lengths), content.getvalue()


def _members(shard: Shard, row: int) -> Iterator[tuple[str, bytes]]:
    for name in ARRAYS:
        array = io.BytesIO()
        np.save(array, getattr(shard, name)[row], allow_pickle=False)
        yield f"{name}.npy", array.getvalue()
    about: dict[str, Any] = {"length": int(shard.lengths[row]), "texts": shard.texts[row]}
    more = {"human": shard.human, "references": shard.references}
    yield "json", json.dumps(about | {name: rows[row] for name, rows in more.items() if rows}).encode()
