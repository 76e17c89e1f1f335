"""New captions, and references, for scenes that exist already: their tag scores are in the shards.

No sound is decoded again. References are what people wrote about clips that score alike; a reward compares captions
with them (`edgecap_train.distill.reward`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgecap.util.files import atomic_folder, to_json, write_atomically
from edgecap.util.progress import Progress
from edgecap_train.data.prepare import MAX_TOKENS
from edgecap_train.data.shards import data_vocabulary, read_shard, shard_folders, sole_writer
from edgecap_train.text.captions import LabelledCaption
from edgecap_train.text.tokenizer import Tokenizer

MOST = 3
"""Captions of each scene."""
JOIN = ("followed", "by")
"""The words between the two halves of a concatenation's caption; such captions are exact and stay."""


class Writer(Protocol):
    """A teacher that reads tag scores."""

    def captions(self, logits: Tensor, most: int) -> list[tuple[str, ...]]:
        """At most `most` different captions of tag logits (classes,), best first."""


class References(Protocol):
    """Where references come from: `edgecap_train.teachers.consensus.ConsensusIndex`."""

    @property
    def captions(self) -> list[LabelledCaption]:
        """All that people wrote."""

    def similar(self, scores: NDArray[np.float32], most: int) -> tuple[int, ...]:
        """Indices of the `most` captions that fit tag scores (classes,) best."""


@dataclass(frozen=True)
class NewWords:
    """What the scenes get."""

    writer: Writer | None = None
    """Of new captions; None keeps those that there are."""
    references: References | None = None
    count: int = 0
    """References of each scene."""
    keep: bool = False
    """Whether the captions that a scene has stay, after the writer's best."""


def recaption_data(data: Path, out: Path, words: NewWords, *, progress: Progress) -> None:
    """The scenes of `data` (a folder of `edgecap train scenes`) with new captions or references, in `out`.

    Arrays are shared with `data` by hard links where the file system allows it. Complete shards of `out` are kept;
    `progress` counts shards. Raises TrainingDataError where `data` holds no shards, OutputError where another process
    writes `out`.
    """
    folders = shard_folders(data / "shards")
    vocabulary = data_vocabulary(data)
    with sole_writer(out):
        write_atomically(out / "vocabulary.json", to_json(vocabulary))
        for number, folder in enumerate(folders):
            target = out / "shards" / folder.name
            if not target.is_dir():
                with atomic_folder(target) as partial:
                    shutil.copytree(folder, partial, copy_function=_shared, dirs_exist_ok=True)
                    if words.writer is not None:
                        recaption(partial, words.writer, Tokenizer(vocabulary), keep=words.keep)
                    if words.references is not None:
                        add_references(partial, words.references, words.count)
            progress(number + 1, len(folders))


def _shared(source: str, target: str) -> None:
    """Link a file, or copy it where the file system cannot."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)


def recaption(folder: Path, writer: Writer, tokenizer: Tokenizer, *, keep: bool = False) -> int:
    """Give a shard's scenes the writer's captions, best first, and return how many scenes have new ones.

    With `keep` the writer's best comes before the captions that a scene has: a student that learns the first and some
    of the others learns from two teachers. A scene keeps the captions it has where they join two others, and where no
    caption can be written in the words of `tokenizer`. `texts.json` is replaced as a whole.
    """
    shard = read_shard(folder)
    texts, changed = list(shard.texts), 0
    for row, logits in enumerate(shard.logits):
        if texts[row] and all(_joins(words) for words in texts[row]):
            continue
        sentences = writer.captions(torch.from_numpy(logits.astype("float32")), MOST)
        written = [words for words in sentences if tokenizer.encode(words, MAX_TOKENS)]
        if written:
            texts[row] = list(dict.fromkeys([written[0], *texts[row]])) if keep else written
            changed += 1
    write_atomically(folder / "texts.json", to_json(texts))
    return changed


def add_references(folder: Path, references: References, count: int) -> None:
    """Give a shard's scenes `count` references each, the best fitting first, in `references.json`."""
    every = []
    for logits in read_shard(folder).logits:
        scores = np.asarray(torch.sigmoid(torch.from_numpy(logits.astype("float32"))).numpy())
        every.append([references.captions[index].words for index in references.similar(scores, count)])
    write_atomically(folder / "references.json", to_json(every))


def _joins(words: Sequence[str]) -> bool:
    return any(tuple(words[at : at + 2]) == JOIN for at in range(len(words) - 1))
