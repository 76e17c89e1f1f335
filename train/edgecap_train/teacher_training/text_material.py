"""What the text teacher learns from: captions with labels, and what the tagger really says of real sounds.

Files in, `TextMaterial` out; `edgecap_train.teacher_training.text_teacher` learns from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgecap.errors import TrainingError
from edgecap.util.files import save_array
from edgecap_train.data.pool import decode_pool
from edgecap_train.data.prepare import Sources, labelled_captions
from edgecap_train.data.targets import score_pool
from edgecap_train.evaluation.evaluated import first_windows
from edgecap_train.evaluation.held_out import Reference, clip_id
from edgecap_train.teacher_training.score_noise import NoiseConfig, ScoreSimulator
from edgecap_train.teacher_training.text_teacher import Example, examples
from edgecap_train.teachers.tagger import SAMPLE_RATE, Tagger, class_names, load_tagger
from edgecap_train.text.captions import Tokenizer, build_vocabulary, read_audiocaps

FEWEST = 20
"""Scores of present labels that a distribution needs."""


@dataclass(frozen=True)
class TextMaterial:
    """All that a run of the text teacher needs."""

    examples: list[Example]
    simulator: ScoreSimulator
    vocabulary: tuple[str, ...]


def prepare_text(
    sources: Sources,
    cache: Path,
    *,
    labels: Path,
    recordings: list[Reference],
    least_count: int,
    seed: int,
    noise: NoiseConfig,
) -> TextMaterial:
    """Read captions, hear the pool and the labelled recordings through the tagger (scores are cached in `cache`).

    `labels`: CSV like the captions', with the labels of some of the `recordings`. Only the distribution of their
    scores is used: no caption of theirs is learnt. Raises AudioError, CheckpointError, TrainingError.
    """
    cache.mkdir(parents=True, exist_ok=True)
    captions = labelled_captions(sources)
    vocabulary = build_vocabulary([caption.words for caption in captions], least_count)
    classes, tagger = class_names(sources.tagger), load_tagger(sources.tagger)
    data = examples(captions, classes, Tokenizer(vocabulary))
    present = present_logits(tagger, classes, recordings, labels)
    scores = cache / "pool_scores.npy"
    if not scores.is_file():
        save_array(scores, score_pool(tagger, decode_pool(sources.audio, cache / "pool")))
    return TextMaterial(data, ScoreSimulator(np.load(scores), present, noise, seed), vocabulary)


@torch.inference_mode()
def present_logits(
    tagger: Tagger, classes: list[str], recordings: list[Reference], labels: Path
) -> NDArray[np.float32]:
    """What the tagger gives labels that are there: logits (n,), one for each label of each recording in `labels`.

    A recording is known by its YouTube id, the end of its file's name after two underscores. Raises TrainingError
    where there are too few to tell a distribution.
    """
    known = {caption.clip: caption.labels for caption in read_audiocaps(labels)}
    column = {name: index for index, name in enumerate(classes)}
    found: list[float] = []
    labelled = [recording for recording in recordings if clip_id(recording.file) in known]
    readable, heard = first_windows(labelled, SAMPLE_RATE) if labelled else ([], [])
    for recording, samples in zip(readable, heard, strict=True):
        there = [column[label] for label in known[clip_id(recording.file)] if label in column]
        found += tagger(torch.from_numpy(samples)[None]).logits[0][there].tolist()
    if len(found) < FEWEST:
        raise TrainingError(
            f"{labels.name} has the labels of recordings with {len(found)} present labels in all, and "
            f"{FEWEST} are needed to know how the tagger scores them; name the table of their captions"
        )
    return np.array(found, np.float32)
