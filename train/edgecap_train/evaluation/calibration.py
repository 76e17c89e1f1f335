"""What a probability beside a caption is worth: whether it is true on average, and whether it ranks captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecap.types import Waveform
from edgecap.util.progress import Progress
from edgecap_train.evaluation.evaluated import EvaluatedBundle
from edgecap_train.evaluation.fault_signals import fault_signals
from edgecap_train.evaluation.held_out import Reference, cider_d
from edgecap_train.text.main_source import names_main_source

Floats = NDArray[np.float64]
BINS = 10
CLAIM = 0.5
"""Confidence above which a caption counts as a claim."""


@dataclass(frozen=True)
class CalibrationFigures:
    """Figures of one set of captions."""

    captions: int
    """Of which it is known whether they are right."""
    right: float
    """Share of them that are."""
    confidence: float
    """Mean confidence."""
    error: float
    """Expected calibration error: mean distance between confidence and share right, in ten bins of as many captions."""
    by_chance: float
    """What `error` would be on average if the confidences were true, with so few recordings, some heard many times."""
    excess: float
    """Root mean square of that distance less what chance adds to it; 0 where chance is all of it."""
    ranking: float
    """Share of pairs of a right and a wrong caption in which the right one has the higher confidence."""
    claims: float
    """Share with a confidence above one half."""
    right_claims: float
    """Share of these that are right."""


SIGNAL_SEED, SIGNALS_EACH = 2, 13
"""Of the generated faults: 208, none of which a fit has heard."""


@dataclass(frozen=True)
class ConfidenceWorth:
    """What a bundle's confidence is worth on recordings, and on noise and faults."""

    recordings: CalibrationFigures | None
    """None where captions name no main source in any."""
    half_coverage: float
    """CIDEr-D of the surer half of the recordings over that of all."""
    signals: int
    signal_claims: int
    """Noise and faults with a confidence above one half; silence is none."""


def confidence_worth(
    model: EvaluatedBundle,
    references: Sequence[Reference],
    sounds: Sequence[Waveform],
    *,
    beam: int | None,
    progress: Progress,
) -> ConfidenceWorth:
    """Of a bundle that has a confidence, on recordings as they are (silent ones left out) and on generated faults."""
    signals = fault_signals(model.front_end.sample_rate, SIGNALS_EACH, seed=SIGNAL_SEED)
    total = len(sounds) + len(signals)
    captions, people = list[str](), list[tuple[str, ...]]()
    values, known = list[float](), list[bool | None]()
    for done, (reference, samples) in enumerate(zip(references, sounds, strict=True)):
        progress(done, total, "confidence")
        caption = model.assessed(samples, beam)
        if caption.confidence is not None:
            captions.append(caption.text)
            people.append(reference.captions)
            values.append(caption.confidence)
            known.append(names_main_source(caption.text, reference.captions))
    claims = 0
    for done, signal in enumerate(signals, start=len(sounds)):
        progress(done, total, "noise and faults")
        claims += (model.assessed(signal.samples, beam).confidence or 0.0) > CLAIM
    progress(total, total)
    pairs = [(value, right) for value, right in zip(values, known, strict=True) if right is not None]
    return ConfidenceWorth(
        calibration([value for value, _ in pairs], [right for _, right in pairs]) if pairs else None,
        at_half_coverage(values, cider_d(captions, people).clips) if len(captions) > 1 else 1.0,
        len(signals),
        claims,
    )


def calibration(
    confidences: Sequence[float], right: Sequence[float], clips: Sequence[str] | None = None
) -> CalibrationFigures:
    """The figures of at least one caption; `right` is 1 or 0, or a probability where nobody knows better.

    `clips` says which recording each caption is of: what happens to captions of one recording is one chance, not
    several. Without it each is of its own.
    """
    values, truth = np.asarray(confidences, np.float64), np.asarray(right, np.float64)
    order = np.argsort(values, kind="stable")
    _, owners = np.unique(np.arange(len(values)) if clips is None else np.asarray(clips), return_inverse=True)
    error = by_chance = excess = 0.0
    for places in np.array_split(order, BINS):
        if not places.size:
            continue
        gaps, share = values[places] - truth[places], len(places) / len(values)
        gap, variance = float(gaps.mean()), _variance_of_mean(gaps, owners[places])
        error += share * abs(gap)
        by_chance += share * math.sqrt(2.0 * variance / math.pi)  # the mean distance of a Gaussian from its centre
        excess += share * (gap**2 - variance)
    claims = values > CLAIM
    return CalibrationFigures(
        captions=len(values),
        right=float(truth.mean()),
        confidence=float(values.mean()),
        error=error,
        by_chance=by_chance,
        excess=math.sqrt(max(0.0, excess)),
        ranking=_ranking(values, truth),
        claims=float(claims.mean()),
        right_claims=float(truth[claims].mean()) if claims.any() else 0.0,
    )


def at_half_coverage(confidences: Sequence[float], worth: Sequence[float]) -> float:
    """Mean worth of the half of the captions with the highest confidence, over the mean worth of all."""
    values, scores = np.asarray(confidences, np.float64), np.asarray(worth, np.float64)
    surest = np.argsort(-values, kind="stable")[: max(1, len(values) // 2)]
    return float(scores[surest].mean() / max(float(scores.mean()), 1e-12))


def _variance_of_mean(gaps: Floats, owners: NDArray[np.intp]) -> float:
    """Variance of the mean of gaps (n,), of which those of one owner are not independent (cluster-robust)."""
    sums = np.bincount(np.unique(owners, return_inverse=True)[1], gaps - gaps.mean())
    return float(np.square(sums).sum() / len(gaps) ** 2 * len(sums) / max(1, len(sums) - 1))


def _ranking(values: Floats, truth: Floats) -> float:
    """Area under the receiver's curve; one half where all are right or all wrong."""
    good, bad = truth[:, None], 1.0 - truth
    pairs = float(truth.sum() * bad.sum())
    if not pairs:
        return 0.5
    above = ((values[:, None] > values).astype(np.float64) + (values[:, None] >= values)) / 2.0
    return float((good * bad * above).sum() / pairs)
