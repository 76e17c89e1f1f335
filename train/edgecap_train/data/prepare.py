"""From a pool of sounds and a table of captions to shards and a vocabulary.

The first half of making the bundled model; `edgecap_train.distill.run_student` is the second.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecap.util.files import save_array, to_json, write_atomically
from edgecap.util.progress import Progress
from edgecap_train.data.pool import decode_pool
from edgecap_train.data.scenes import SceneConfig, SceneMaker
from edgecap_train.data.targets import TargetMaker, score_pool
from edgecap_train.teachers.consensus import CONSENSUS, ConsensusIndex
from edgecap_train.teachers.tagger import class_names, load_tagger
from edgecap_train.text.handwritten_captions import labelled_captions
from edgecap_train.text.tokenizer import Tokenizer, build_vocabulary

log = logging.getLogger(__name__)

MAX_TOKENS = 20


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The sources of training material."""

    audio: Path
    """Pool with a `manifest.csv`."""
    captions: Path
    """AudioCaps captions joined with AudioSet labels, CSV."""
    tagger: Path
    """Folder of the EfficientAT tagger."""
    held_out: frozenset[str] = frozenset()
    """Clips (YouTube ids) whose captions must not be learnt: those of the development set."""


def prepare(
    sources: Sources, out: Path, *, shards: int, scenes: int, rate: int, least_count: int, seed: int, progress: Progress
) -> int:
    """Write `vocabulary.json` and `shards` shards of `scenes` scenes each into `out`; complete ones are kept.

    Returns how many words the vocabulary has. `rate`: the student's sample rate in hertz. `progress` counts shards.
    """
    captions = labelled_captions(sources.captions, sources.held_out)
    vocabulary = build_vocabulary([caption.words for caption in captions], least_count)
    tokenizer = Tokenizer(vocabulary)
    valid = np.array([tokenizer.encode(caption.words, MAX_TOKENS) is not None for caption in captions])
    tagger, classes = load_tagger(sources.tagger), class_names(sources.tagger)
    pool = decode_pool(sources.audio, out / "pool")
    scores_path = out / "pool_scores.npy"
    if not scores_path.is_file():
        save_array(scores_path, score_pool(tagger, pool))
    scores = np.load(scores_path)
    write_atomically(out / "vocabulary.json", to_json(vocabulary))
    config = SceneConfig()
    targets = TargetMaker(tagger, ConsensusIndex(captions, classes, CONSENSUS), valid, rate, config.seconds)
    for number in range(shards):
        folder = out / "shards" / f"{number:04d}"
        if not folder.is_dir():
            targets.write_shard(folder, SceneMaker(pool, scores, classes, captions, config, seed + number), scenes)
        progress(number + 1, shards)
    return len(vocabulary)
