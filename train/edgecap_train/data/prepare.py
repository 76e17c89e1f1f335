"""From a pool of sounds and a table of captions to shards and a vocabulary.

The first half of making the bundled model; `edgecap_train.distill.run_student` is the second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from edgecap.cluster.pool import map_items
from edgecap.cluster.session import Workers
from edgecap.util.files import save_array, to_json, write_atomically
from edgecap.util.progress import Progress
from edgecap_train.data.pool import Pool, decode_pool
from edgecap_train.data.scenes import SceneConfig, SceneMaker
from edgecap_train.data.shards import check_settings, is_complete, sole_writer
from edgecap_train.data.targets import TargetMaker, score_pool
from edgecap_train.teachers.consensus import CONSENSUS, ConsensusIndex
from edgecap_train.teachers.tagger import class_names, load_tagger
from edgecap_train.text.captions import LabelledCaption
from edgecap_train.text.handwritten_captions import labelled_captions
from edgecap_train.text.tokenizer import Tokenizer, build_vocabulary

MAX_TOKENS = 20
INDEX = "scenes.json"
SCENES = SceneConfig()


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

    def absolute(self) -> Self:
        """The same with absolute paths, for processes in other folders."""
        places = {name: getattr(self, name).absolute() for name in ("audio", "captions", "tagger")}
        return replace(self, **places)


@dataclass(frozen=True, kw_only=True)
class Composing:
    """How the shards of scenes are made."""

    scenes: int
    """Scenes in a shard."""
    rate: int = 16_000
    """Sample rate of the student, in hertz."""
    least_count: int = 4
    """A word needs this many captions to enter the vocabulary."""
    seed: int = 1000
    """Of the first shard; the next ones have the numbers that follow."""
    wild: frozenset[str] = frozenset()
    """Sets that were recorded where the sound was, besides `edgecap_train.data.scenes.WILD_SETS`."""


def prepare(
    sources: Sources,
    out: Path,
    composing: Composing,
    *,
    shards: int,
    progress: Progress,
    workers: Workers | None = None,
) -> int:
    """Write `vocabulary.json` and `shards` shards of scenes into `out`; complete ones are kept.

    Returns how many words the vocabulary has. `progress` counts shards. With `workers` they make the shards, the same
    ones; on a cluster they need the sources and `out` under these paths. Raises ConfigError where `out` was begun with
    other settings, OutputError where another command writes there, and what `map_items` raises.
    """
    out, sources = out.absolute(), sources.absolute()
    about = {
        "per_shard": composing.scenes,
        "rate": composing.rate,
        "least_count": composing.least_count,
        "seed": composing.seed,
        "wild": sorted(composing.wild),
    }
    check_settings(out / INDEX, about)
    with sole_writer(out):
        material = _Material.load(sources, out, composing)
        write_atomically(out / INDEX, to_json(about))
        write_atomically(out / "vocabulary.json", to_json(material.vocabulary))
        missing = [number for number in range(shards) if not is_complete(_shard(out, number))]
        done = shards - len(missing)
        progress(done, shards)
        load = partial(_Material.load, sources, out, composing) if workers else lambda: material
        make, threads = partial(_maker, load, out, composing), torch.get_num_threads()
        for _ in map_items(make, missing, workers, threads=threads, name=lambda number: f"shard {number:04d}"):
            done += 1
            progress(done, shards)
    return len(material.vocabulary)


@dataclass(frozen=True)
class _Material:
    """What a process needs to compose scenes, in memory."""

    pool: Pool
    scores: NDArray[np.float32]
    classes: list[str]
    captions: list[LabelledCaption]
    vocabulary: tuple[str, ...]
    targets: TargetMaker

    @classmethod
    def load(cls, sources: Sources, out: Path, composing: Composing) -> Self:
        """From the sources; what is kept in `out` of the pool is made where it is missing."""
        captions = labelled_captions(sources.captions, sources.held_out)
        vocabulary = build_vocabulary([caption.words for caption in captions], composing.least_count)
        tokenizer = Tokenizer(vocabulary)
        valid = np.array([tokenizer.encode(caption.words, MAX_TOKENS) is not None for caption in captions])
        tagger, classes = load_tagger(sources.tagger), class_names(sources.tagger)
        pool = decode_pool(sources.audio, out / "pool")
        scores_path = out / "pool_scores.npy"
        if not scores_path.is_file():
            save_array(scores_path, score_pool(tagger, pool))
        index = ConsensusIndex(captions, classes, CONSENSUS)
        targets = TargetMaker(tagger, index, valid, composing.rate, SCENES.seconds)
        return cls(pool, np.load(scores_path), classes, captions, vocabulary, targets)


def _shard(out: Path, number: int) -> Path:
    return out / "shards" / f"{number:04d}"


def _maker(load: Callable[[], _Material], out: Path, composing: Composing, threads: int) -> Callable[[int], None]:
    """In the process that does the work: a function that makes the shard of a number."""
    torch.set_num_threads(threads)
    material = load()

    def make(number: int) -> None:
        seed = composing.seed + number
        drawn = SceneMaker(
            material.pool, material.scores, material.classes, material.captions, SCENES, seed, composing.wild
        )
        material.targets.write_shard(_shard(out, number), drawn, composing.scenes)

    return make
