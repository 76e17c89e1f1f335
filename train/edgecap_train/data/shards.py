"""Shards: scenes or clips with all that a student learns from them, kept on disk and read by memory map.

A shard is a folder: `audio.npy` (N, n) int16 at the student's rate, `frames.npy` (N, 32, 384) float16 and
`logits.npy` (N, 527) float16 from the teacher, `lengths.npy` (N,) samples that are not padding,
`texts.json`, the captions of each scene as lists of words; `human.json`, where there is one, has those that people
wrote or that are exact, in the same form; `references.json`, where there is one, what people wrote about similar
clips. A shard appears under its name when it is complete.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecap.bundle.vocabulary import Vocabulary, read_vocabulary
from edgecap.errors import CheckpointError, ConfigError, OutputError, TrainingDataError, reason_of
from edgecap.util.files import PARTIAL, atomic_folder, save_array, to_json

MEMORY_FRAMES, EMBEDDING, CLASSES = 32, 384, 527
"""Of the tagger: frames of ten seconds, their width, AudioSet's classes."""


@dataclass(frozen=True)
class Shard:
    """A shard opened for reading; arrays are memory-mapped."""

    audio: NDArray[np.generic]
    """int16 samples, or the array that `read_shard` named in their place."""
    frames: NDArray[np.float16]
    logits: NDArray[np.float16]
    lengths: NDArray[np.int64]
    texts: list[list[tuple[str, ...]]]
    """Captions of each scene by the teacher, the best first."""
    human: list[list[tuple[str, ...]]] = field(default_factory=list)
    """Trusted captions of each scene, none for some; empty where the shard has no `human.json`."""
    references: list[list[tuple[str, ...]]] = field(default_factory=list)
    """What people wrote about clips with similar sounds, to compare captions with; empty without `references.json`."""


def shard_folders(folder: Path) -> list[Path]:
    """The complete shards of a folder, by name. Raises TrainingDataError where there is none."""
    inside = folder.iterdir() if folder.is_dir() else ()
    names = [path for path in inside if path.is_dir() and path.suffix != PARTIAL]
    if not names:
        raise TrainingDataError(
            f"{folder} holds no shards; edgecap train scenes -o {folder.parent} makes them, for "
            "--audio-only edgecap train pseudo-caption"
        )
    return sorted(names)


def read_shard(folder: Path, sound: str = "audio") -> Shard:
    """Open a complete shard; `sound` names the array to read as its sound."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("frames", "logits", "lengths")}
    audio = np.load(folder / f"{sound}.npy", mmap_mode="r")
    human, references = (
        _captions(path) if (path := folder / f"{name}.json").is_file() else [] for name in ("human", "references")
    )
    texts = _captions(folder / "texts.json")
    return Shard(audio, **arrays, texts=texts, human=human, references=references)


def write_shard(folder: Path, arrays: Mapping[str, NDArray[np.generic]], documents: Mapping[str, object]) -> None:
    """Write a shard, whole or not at all: `NAME.npy` for each array, `NAME.json` for each document.

    One that is there is replaced. Raises OutputError.
    """
    with atomic_folder(folder, replace=True) as partial:
        for name, array in arrays.items():
            save_array(partial / f"{name}.npy", array)
        for name, document in documents.items():
            (partial / f"{name}.json").write_text(to_json(document), encoding="utf-8")


def is_complete(folder: Path) -> bool:
    """Whether there is a shard that can be read: a damaged one is to be made again."""
    try:
        shard = read_shard(folder)
    except (OSError, ValueError, TypeError):
        return False
    return len({len(rows) for rows in (shard.audio, shard.frames, shard.logits, shard.lengths, shard.texts)}) == 1


@contextmanager
def sole_writer(out: Path) -> Iterator[None]:
    """Keep a second command away from a folder of shards. Raises OutputError; the lock ends with the process."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("ab")
    except OSError as error:
        raise OutputError(f"{out} cannot be written ({reason_of(error)}); name another folder") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"{out} is being written by another edgecap; wait for it, or name another folder with --out"
            ) from error
        except OSError:
            pass  # a network file system without locks
        yield


def check_settings(path: Path, about: Mapping[str, object]) -> None:
    """Raise ConfigError where the folder of the file `path` was begun with other settings than `about`.

    Raises TrainingDataError where the file cannot be read.
    """
    try:
        before = json.loads(path.read_bytes())
        # a setting that an earlier version did not have, and that is empty now, is no other one
        changed = [name for name, value in about.items() if before.get(name) != value and (name in before or value)]
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError) as error:
        raise TrainingDataError(
            f"{path} cannot be used ({reason_of(error)}); restore it, or name another folder with --out"
        ) from error
    if changed:
        raise ConfigError(f"{path.parent} was begun with other {', '.join(changed)}; name another folder with --out")


def data_vocabulary(data: Path) -> Vocabulary:
    """The words of a folder of prepared data. Raises TrainingDataError where they are missing or damaged."""
    try:
        return read_vocabulary(data / "vocabulary.json")
    except CheckpointError as error:
        raise TrainingDataError(
            f"{data} holds no vocabulary.json that can be read; name a folder that edgecap train scenes or "
            "edgecap train pseudo-caption wrote"
        ) from error


def _captions(path: Path) -> list[list[tuple[str, ...]]]:
    return [[tuple(words) for words in captions] for captions in json.loads(path.read_text(encoding="utf-8"))]
