"""New captions for scenes that are already made: their tag scores are in the shards, so no sound is heard again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from edgecap_train.data.batches import shard_folders
from edgecap_train.data.shards import read_shard
from edgecap_train.teachers.score_writer import ScoreWriter
from edgecap_train.text.captions import Tokenizer
from edgecap_train.text.vocabulary import read_vocabulary

MOST = 3
"""Captions of each scene."""
JOIN = ("followed", "by")
"""What stands between the two halves of a concatenation's caption; such captions are exact and stay."""


def recaption_data(data: Path, out: Path, writer: ScoreWriter, *, progress: Callable[[int, int], None]) -> None:
    """The scenes of `data` (a folder of `edgecap train scenes`) with the writer's captions, in `out`.

    Arrays are shared with `data` by hard links where the file system allows it. Complete shards of `out` are kept;
    `progress` is told (shards done, shards in all). Raises TrainingError where `data` holds no shards.
    """
    folders = shard_folders(data / "shards")
    words = Tokenizer(read_vocabulary(data / "vocabulary.json"))
    (out / "shards").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(data / "vocabulary.json", out / "vocabulary.json")
    for number, folder in enumerate(folders):
        target = out / "shards" / folder.name
        if not target.is_dir():
            partial = target.with_name(target.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(folder, partial, copy_function=_shared)
            recaption(partial, writer, words)
            partial.rename(target)
        progress(number + 1, len(folders))


def _shared(source: str, target: str) -> None:
    """Give a file a second name, or a copy on another file system."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)


def recaption(folder: Path, writer: ScoreWriter, student: Tokenizer) -> int:
    """Give a shard's scenes the writer's captions, best first, and return how many scenes have new ones.

    A scene keeps the captions it has where they join two others, and where no caption can be written in the words of
    `student`. `texts.json` is replaced as a whole.
    """
    shard = read_shard(folder)
    texts, changed = list(shard.texts), 0
    for row, logits in enumerate(shard.logits):
        if texts[row] and all(_joins(words) for words in texts[row]):
            continue
        sentences = writer.captions(torch.from_numpy(logits.astype("float32")), MOST)
        kept = [words for words in sentences if student.encode(words, writer.captioner.config.max_tokens)]
        if kept:
            texts[row] = kept
            changed += 1
    partial = folder / "texts.json.partial"
    partial.write_text(json.dumps(texts), encoding="utf-8")
    partial.replace(folder / "texts.json")
    return changed


def _joins(words: Sequence[str]) -> bool:
    return any(tuple(words[at : at + 2]) == JOIN for at in range(len(words) - 1))
