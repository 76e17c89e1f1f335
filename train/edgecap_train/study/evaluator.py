"""Scores of a student's greedy captions, clip by clip, on each of the study's evaluation sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgecap_train.data.shards import Shard, read_shard, shard_folders
from edgecap_train.evaluation.lexical import cider_d
from edgecap_train.evaluation.metrics import Clips
from edgecap_train.evaluation.tag_agreement import nameable_classes, names_highest
from edgecap_train.models.student import Student
from edgecap_train.study.evaluation_sets import EvaluationSet
from edgecap_train.text.lexicon import ClaimCheck
from edgecap_train.text.tokenizer import END, START, UNK

AT_ONCE = 64
"""Clips that are captioned together."""


class Evaluator:
    """Scores students on evaluation sets that are read once."""

    def __init__(
        self,
        folder: Path,
        sets: Sequence[EvaluationSet],
        sound: str,
        vocabulary: tuple[str, ...],
        classes: Sequence[str],
    ) -> None:
        """`folder` of the study; `sound` names the array that the student takes, `classes` the tagger's outputs."""
        self.shards = [(one, joined_shards(folder / one.folder / "shards", sound)) for one in sets]
        self.vocabulary = vocabulary
        self._check = ClaimCheck(classes)
        self._nameable = nameable_classes(self._check, len(classes))
        self.clips: dict[str, dict[str, list[float]]] = {}
        """Scores of the last student: measure → set → clips."""
        self.captions: dict[str, dict[str, list[str]]] = {}
        """Its captions in the same order, so that other measures can be taken of the same runs."""

    def scores(self, student: Student) -> dict[str, float]:
        """Mean of each measure over its clips; that of the held-out scenes as "cider_d"."""
        self.clips, self.captions = {}, {}
        for one, shard in self.shards:
            captions = self._captions(student, shard)
            self.captions.setdefault(one.measure, {})[one.name] = captions
            scores = self._named(captions, shard) if one.measure == "tagged" else _cider_d(captions, shard)
            self.clips.setdefault(one.measure, {})[one.name] = scores
        means = {name: float(np.mean(np.concatenate(list(sets.values())))) for name, sets in self.clips.items()}
        return {"cider_d" if name == "judged" else name: mean for name, mean in means.items()}

    def _named(self, captions: Sequence[str], shard: Shard) -> list[float]:
        """1 for each caption that names the tagger's first class, else 0."""
        rows = zip(captions, shard.logits, strict=True)
        return [
            float(names_highest(caption.split(), logits, self._check, self._nameable, 1)[0]) for caption, logits in rows
        ]

    @torch.inference_mode()
    def _captions(self, student: Student, shard: Shard) -> list[str]:
        captions = []
        for start in range(0, len(shard.audio), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            memory = student.encode(torch.from_numpy(np.asarray(shard.audio[rows], np.float32)))
            length = student.memory_length(torch.from_numpy(np.asarray(shard.lengths[rows])))
            captions += greedy_captions(student, memory, length.clamp(min=1, max=memory.shape[1]))
        return [" ".join(self.vocabulary[token] for token in tokens if token > UNK) for tokens in captions]


@torch.inference_mode()
def greedy_captions(student: Student, memory: Tensor, length: Tensor) -> list[list[int]]:
    """What `edgecap_train.models.search` finds with a beam of 1, for many clips at once.

    `memory` (B, S, dim), `length` (B,) from 1 to S → token ids, the end token last where a caption ended. The student
    must be in eval mode.
    """
    decoder, most = student.decoder, student.config.max_tokens
    cross_keys, cross_values = decoder.cross_cache(memory)
    layers, rows, heads, _, head_dim = cross_keys.shape
    keys = values = cross_keys.new_zeros(layers, rows, heads, most, head_dim)
    tokens = torch.full((rows,), START)
    ended = torch.zeros(rows, dtype=torch.bool)
    chosen = []
    for position in range(most):
        log_probs, keys, values = decoder.step(tokens, position, length, keys, values, cross_keys, cross_values)
        tokens = log_probs.argmax(1)
        chosen.append(tokens)
        ended |= tokens == END
        if bool(ended.all()):
            break
    captions = torch.stack(chosen, 1).tolist()
    return [row[: row.index(END) + 1] if END in row else row for row in captions]


def joined_shards(folder: Path, sound: str) -> Shard:
    """All shards of a folder as one. Raises TrainingDataError where there is none."""
    shards = [read_shard(path, sound) for path in shard_folders(folder)]
    joined = {
        name: np.concatenate([getattr(shard, name) for shard in shards])
        for name in ("audio", "frames", "logits", "lengths")
    }
    texts, human, references = (
        [clip for shard in shards for clip in getattr(shard, name)] for name in ("texts", "human", "references")
    )
    return Shard(**joined, texts=texts, human=human, references=references)


def _cider_d(captions: Sequence[str], shard: Shard) -> list[float]:
    people = [[" ".join(words) for words in clip] for clip in shard.human]
    return [round(float(score), 4) for score in cider_d(Clips(captions, people)).clips]
