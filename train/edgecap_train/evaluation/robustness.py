"""One model from several sides: each source of recordings, each degradation of them, and sets without captions.

No single figure of it is meant to choose a model by: what was tuned on one set of clips has not held on others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from zlib import crc32

import numpy as np

from edgecap.types import Waveform
from edgecap.util.progress import Progress
from edgecap_train.evaluation.calibration import ConfidenceWorth
from edgecap_train.evaluation.conditions import CONDITIONS, Condition
from edgecap_train.evaluation.evaluated import EvaluatedModel
from edgecap_train.evaluation.held_out import Reference, by_source
from edgecap_train.evaluation.metrics import LEAST_CLIPS, METRICS, Clips, Interval
from edgecap_train.evaluation.tag_agreement import TagAgreement

SIDE_METRICS = ("cider_d", "main_source", "second_source", "invented_sources")
"""Of each source of recordings; none needs a download."""
SPECS = {spec.name: spec for spec in METRICS if spec.name in SIDE_METRICS}


@dataclass(frozen=True)
class Side:
    """The recordings of one source, captioned as they are."""

    name: str
    """The table's `dataset` and `split`."""
    clips: int
    words: float
    """Words of a caption on average."""
    scores: dict[str, Interval]
    """By the names in `SIDE_METRICS`."""


@dataclass(frozen=True)
class Robustness:
    """All recordings under one condition, and the worth of the captions there."""

    condition: str
    cider_d: Interval
    changed: float
    """Share of the recordings whose caption is another than without it."""


@dataclass(frozen=True)
class RobustnessReport:
    """All that was measured of one model."""

    model: str
    beam: int | None
    sides: tuple[Side, ...]
    conditions: tuple[Robustness, ...]
    tags: TagAgreement | None = None
    """Of sounds without captions; None where none were given."""
    confidence: ConfidenceWorth | None = None
    """None where the model has no confidence."""

    @property
    def mean_of_sides(self) -> float:
        """CIDEr-D, each source weighing the same."""
        return float(np.mean([side.scores["cider_d"].mean for side in self.sides]))

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "mean_of_sides": self.mean_of_sides}


def evaluate_robustness(
    model: EvaluatedModel,
    references: Sequence[Reference],
    sounds: Sequence[Waveform],
    *,
    beam: int | None,
    progress: Progress,
    conditions: Sequence[Condition] = CONDITIONS,
) -> tuple[tuple[Side, ...], tuple[Robustness, ...]]:
    """Caption the recordings as they are and under each condition.

    `sounds`: the first window of each reference, (n,) at the model's rate. A source with fewer recordings than CIDEr-D
    needs is left out of the sides. Raises MissingDependencyError without aac-metrics.
    """
    rate, total = model.front_end.sample_rate, (1 + len(conditions)) * len(sounds)
    done = 0

    def captions(waveforms: Iterator[Waveform], label: str) -> list[str]:
        nonlocal done
        texts = []
        for samples in waveforms:
            progress(done, total, label)
            texts.append(model.caption(samples, beam))
            done += 1
        progress(done, total, label)
        return texts

    plain = captions(iter(sounds), "as recorded")
    sides = tuple(
        _side(name, [plain[place] for place in places], [references[place].captions for place in places])
        for name, places in by_source(references).items()
        if len(places) >= LEAST_CLIPS
    )
    results = []
    for condition in conditions:
        degraded = captions(
            (
                condition.degrade(samples, rate, np.random.default_rng(crc32(reference.file.name.encode())))
                for samples, reference in zip(sounds, references, strict=True)
            ),
            condition.name,
        )
        compared = [
            text if (shorter := condition.plain(samples, rate)).size == samples.size else model.caption(shorter, beam)
            for text, samples in zip(plain, sounds, strict=True)
        ]
        scored = Clips(degraded, [reference.captions for reference in references]).metric(SPECS["cider_d"])
        changed = np.mean([one != other for one, other in zip(degraded, compared, strict=True)])
        results.append(Robustness(condition.name, scored.interval, float(changed)))
    return sides, tuple(results)


def _side(name: str, captions: Sequence[str], references: Sequence[Sequence[str]]) -> Side:
    clips = Clips(captions, references)
    words = float(np.mean([len(text.split()) for text in clips.words]))
    return Side(name, len(captions), words, {key: clips.metric(SPECS[key]).interval for key in SIDE_METRICS})
