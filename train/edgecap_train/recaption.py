"""New captions for scenes that are already made: their tag scores are in the shards, so no sound is heard again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from edgecap_train.captions import Encoder
from edgecap_train.score_writer import ScoreWriter
from edgecap_train.targets import read_shard

MOST = 3
"""Captions of each scene."""
JOIN = ("followed", "by")
"""What stands between the two halves of a concatenation's caption; such captions are exact and stay."""


def recaption(folder: Path, writer: ScoreWriter, student: Encoder) -> int:
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
