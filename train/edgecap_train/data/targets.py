"""Scenes and what a student learns from them, computed once and kept in shards (`edgecap_train.data.shards`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgecap.audio.samples import to_int16
from edgecap_train.data.equipment import Equipment, EquipmentConfig
from edgecap_train.data.pool import Pool
from edgecap_train.data.scenes import SEQUENCE_WORDS, Scene, SceneMaker, to_student_rate
from edgecap_train.data.shards import CLASSES, EMBEDDING, MEMORY_FRAMES, write_shard
from edgecap_train.teachers.consensus import ConsensusIndex
from edgecap_train.teachers.tagger import Tagger
from edgecap_train.text.captions import LabelledCaption

MOST_CAPTIONS = 8
CLOSEST = 4_000
"""A scene keeps the caption it was made for where fewer captions fit what the tagger hears in it better."""


@torch.inference_mode()
def score_pool(tagger: Tagger, pool: Pool, seconds: float = 10.0) -> NDArray[np.float32]:
    """Tag scores of a pool's clips: (clips, 527) sigmoids; a long clip by its middle, a short one padded to 1 s."""
    scores = np.zeros((len(pool.clips), CLASSES), np.float32)
    for index in range(len(pool.clips)):
        samples, longest = pool.read(index), int(seconds * 32_000)
        if samples.size > longest:
            samples = samples[(samples.size - longest) // 2 :][:longest]
        samples = np.pad(samples, (0, max(0, 32_000 - samples.size)))
        scores[index] = torch.sigmoid(tagger(torch.from_numpy(samples)[None]).logits[0]).numpy()
    return scores


class TargetMaker:
    """Turns scenes into training targets."""

    def __init__(
        self, tagger: Tagger, index: ConsensusIndex, valid: NDArray[np.bool_], rate: int, seconds: float
    ) -> None:
        """`valid` (captions,): captions that the vocabulary can write; `rate`: the student's, in hertz."""
        self.tagger, self.index, self.valid, self.rate = tagger, index, valid, rate
        self.length = int(rate * seconds)
        self._simple = valid & np.array([_is_simple(caption) for caption in index.captions])

    def captions(self, scene: Scene, scores: NDArray[np.float32]) -> list[tuple[str, ...]]:
        """The teacher's captions of a scene, the best first; exact ones for a concatenation."""
        if scene.parts is not None:
            first, second = (self._of(self._scores(part), self._simple, 4) for part in scene.parts)
            return [(*a, "followed", "by", *b) for a, b in zip(first, second, strict=False)][:MOST_CAPTIONS]
        return self._of(scores, self.valid, MOST_CAPTIONS)

    def human(self, scene: Scene, scores: NDArray[np.float32]) -> list[tuple[str, ...]]:
        """The human caption that a scene was made for, where the tagger hears what it claims; else none."""
        made_for = scene.caption
        if made_for < 0 or not self.valid[made_for] or self.index.false(scores)[made_for]:
            return []
        fits = self.index.fits(scores)
        close = int((fits > fits[made_for]).sum()) < CLOSEST
        return [self.index.captions[made_for].words] if close else []

    @torch.inference_mode()
    def write_shard(self, folder: Path, maker: SceneMaker, count: int) -> None:
        """Draw `count` scenes and write their shard. Raises OutputError."""
        audio = np.zeros((count, self.length), np.int16)
        frames = np.zeros((count, MEMORY_FRAMES, EMBEDDING), np.float16)
        logits = np.zeros((count, CLASSES), np.float16)
        lengths = np.zeros(count, np.int64)
        texts: list[list[tuple[str, ...]]] = []
        human: list[list[tuple[str, ...]]] = []
        equipment = Equipment(EquipmentConfig(), maker.rng)
        for row in range(count):
            scene = maker.draw()
            tags = self.tagger(torch.from_numpy(scene.samples)[None])
            samples = equipment.record(to_student_rate(scene.samples, self.rate)[: self.length], self.rate)
            audio[row, : samples.size] = to_int16(samples)
            lengths[row] = samples.size
            kept = tags.frames[0, :MEMORY_FRAMES].numpy()
            frames[row, : len(kept)] = kept
            logits[row] = tags.logits[0].numpy()
            scores = torch.sigmoid(tags.logits[0]).numpy()
            texts.append(self.captions(scene, scores))
            human.append(self.human(scene, scores))
        arrays: dict[str, NDArray[np.generic]] = {
            "audio": audio,
            "frames": frames,
            "logits": logits,
            "lengths": lengths,
        }
        write_shard(folder, arrays, {"texts": texts, "human": human})

    def _scores(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(torch.sigmoid(self.tagger(torch.from_numpy(samples)[None]).logits[0]).numpy())

    def _of(self, scores: NDArray[np.float32], valid: NDArray[np.bool_], most: int) -> list[tuple[str, ...]]:
        return [self.index.captions[i].words for i in self.index.pick(scores, most, valid)]


def _is_simple(caption: LabelledCaption) -> bool:
    """Whether a caption is about one thing, in a few words, so that it can be half of "... followed by ..."."""
    return len(caption.words) <= 7 and not SEQUENCE_WORDS & set(caption.words)
