"""Sounds without captions: what the AudioSet tagger hears in them, what a model says of them, what its encoder kept.

Two figures that need no human captions. Whether a caption names what the tagger scores highest, by the words and
classes of `edgecap_train.text.lexicon`. And a linear probe (Alain and Bengio 2016): the tagger's logits predicted from
the encoder's clip embedding by ridge regression, learnt on some sets and scored on others by mean average precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.file import decode
from edgecap.errors import AudioError, TableError
from edgecap.util.progress import Progress
from edgecap_train.data.pool import read_manifest
from edgecap_train.evaluation.evaluated import WINDOW_SECONDS, EvaluatedModel
from edgecap_train.teachers.tagger import class_names, load_tagger
from edgecap_train.teachers.teacher import TaggingTeacher
from edgecap_train.text.lexicon import ClaimCheck
from edgecap_train.text.tokenizer import tokenize

HEARD_SCORE = 0.3
"""The tagger's score from which a class counts as heard: a positive of the average precision."""
LEAST_POSITIVES = 5
"""Held-out clips that a class needs to be counted."""
RIDGE = 10.0
"""Weight of the penalty beside standardised embeddings."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SetAgreement:
    """What a model says of one held-out set, against the tagger."""

    name: str
    clips: int
    top_1: float
    """Share of the clips whose caption names the class with the highest score, of those that words can name."""
    top_3: float
    """Share whose caption names one of the three highest."""
    unsupported: float
    """Share whose caption names something that no score of the tagger supports."""


@dataclass(frozen=True)
class ProbeResult:
    """The linear probe over all held-out sets."""

    mean_average_precision: float
    classes: int
    """Classes with enough held-out clips."""
    learnt_from: int
    """Clips of the other sets."""


@dataclass(frozen=True)
class TagAgreement:
    """All of it."""

    sets: tuple[SetAgreement, ...]
    probe: ProbeResult


@dataclass(frozen=True)
class _Clip:
    set: str
    logits: Floats
    """The tagger's, (classes,)."""
    embedding: Floats
    caption: str
    """Empty where it was not asked for."""


def tag_agreement(
    model: EvaluatedModel,
    pools: Sequence[Path],
    held_out: Sequence[str],
    tagger_folder: Path,
    *,
    beam: int | None,
    progress: Progress,
    most: int = 60,
) -> TagAgreement:
    """Caption the `held_out` sets of the pools, and probe the encoder, with at most `most` clips of each set.

    A pool is a folder with a manifest.csv. A file that cannot be read is left out. Raises TableError for a set that no
    pool has, or where no other is left to learn from; CheckpointError without the tagger.
    """
    rows = [(pool / row["file"], row["set"]) for pool in pools for row in read_manifest(pool)]
    sets = {name for _, name in rows}
    if unknown := sorted(set(held_out) - sets):
        raise TableError(f"no pool has a set {unknown[0]!r}; there are {', '.join(sorted(sets))}")
    if not held_out or sets == set(held_out):
        raise TableError("the probe learns from some sets and is scored on others; hold out some of them, not all")
    teacher, check = TaggingTeacher(load_tagger(tagger_folder)), ClaimCheck(class_names(tagger_folder))
    chosen = drawn_clips(rows, most)
    clips = []
    for done, (file, name) in enumerate(chosen):
        progress(done, len(chosen), name)
        try:
            waveform = decode(file, teacher.sample_rate, WINDOW_SECONDS)
            samples = decode(file, model.front_end.sample_rate, WINDOW_SECONDS)
        except AudioError:
            continue
        logits = teacher.tags(waveform).logits[0].cpu().numpy()
        caption = model.caption(samples, beam) if name in held_out else ""
        clips.append(_Clip(name, logits, model.embedding(samples), caption))
    progress(len(chosen), len(chosen))
    agreement = [_agreement(name, [clip for clip in clips if clip.set == name], check) for name in held_out]
    return TagAgreement(tuple(agreement), _probe(clips, frozenset(held_out)))


def drawn_clips(rows: Sequence[tuple[Path, str]], most: int) -> list[tuple[Path, str]]:
    """At most so many of each set, drawn by chance, the same each time."""
    chosen, by_set = [], dict[str, list[Path]]()
    for file, name in rows:
        by_set.setdefault(name, []).append(file)
    for name, files in sorted(by_set.items()):
        order = np.random.default_rng(0).permutation(len(files))[:most]
        chosen += [(files[place], name) for place in sorted(order)]
    return chosen


def _agreement(name: str, clips: Sequence[_Clip], check: ClaimCheck) -> SetAgreement:
    if not clips:
        raise AudioError(f"no clip of the set {name} can be read; leave it out")
    nameable = nameable_classes(check, clips[0].logits.size)
    first, third, false = [], [], []
    for clip in clips:
        words = tokenize(clip.caption)
        named = names_highest(words, clip.logits, check, nameable)
        first.append(named[0])
        third.append(any(named))
        false.append(check.is_false(words, _sigmoid(clip.logits)))
    return SetAgreement(name, len(clips), float(np.mean(first)), float(np.mean(third)), float(np.mean(false)))


def nameable_classes(check: ClaimCheck, classes: int) -> list[int]:
    """The classes, of the tagger's so many, that words of a caption can name."""
    return [label for label in range(classes) if check.about(label).any()]


def names_highest(
    words: Sequence[str], logits: NDArray[np.floating], check: ClaimCheck, nameable: Sequence[int], count: int = 3
) -> list[bool]:
    """Whether a caption names each of the `count` nameable classes with the highest `logits` (classes,)."""
    claims = check.made(words)
    highest = sorted(nameable, key=lambda label: -logits[label])[:count]
    return [bool((claims & check.about(label)).any()) for label in highest]


def _probe(clips: Sequence[_Clip], held_out: frozenset[str]) -> ProbeResult:
    learnt = [clip for clip in clips if clip.set not in held_out]
    scored = [clip for clip in clips if clip.set in held_out]
    inputs = np.stack([clip.embedding for clip in learnt]).astype(np.float64)
    targets = np.stack([clip.logits for clip in learnt]).astype(np.float64)
    mean, spread, offset = inputs.mean(0), inputs.std(0) + 1e-6, targets.mean(0)
    inputs = (inputs - mean) / spread
    normal = inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1])
    weights = np.linalg.solve(normal, inputs.T @ (targets - offset))
    predicted = (np.stack([clip.embedding for clip in scored]) - mean) / spread @ weights + offset
    positive = _sigmoid(np.stack([clip.logits for clip in scored])) >= HEARD_SCORE
    classes = np.flatnonzero(positive.sum(0) >= LEAST_POSITIVES)
    precisions = [average_precision(predicted[:, label], positive[:, label]) for label in classes]
    return ProbeResult(float(np.mean(precisions)) if precisions else 0.0, len(precisions), len(learnt))


def average_precision(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Mean of the precision at each positive, clips (n,) ordered by `scores`; needs at least one positive."""
    ordered = positive[np.argsort(-scores, kind="stable")]
    ranks = np.flatnonzero(ordered) + 1
    return float(np.mean(np.arange(1, ranks.size + 1) / ranks))


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-logits)), np.float32)
