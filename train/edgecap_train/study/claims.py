"""The paper's claims as differences of rows: whether each holds here, and what it would take to decide it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from edgecap_train.evaluation.metrics import Interval
from edgecap_train.study.power import (
    VarianceParts,
    clips_needed,
    paired_interval,
    seeds_needed,
    smallest_decided,
    variance_parts,
)
from edgecap_train.study.results import Results, Scores

DRAWS = 4_000
SMALL_GAIN = 0.05
"""Of CIDEr-D, or five clips of a hundred: a difference worth knowing."""
Verdict = Literal["holds", "does not hold", "undecided", "not run"]


@dataclass(frozen=True)
class PaperClaim:
    """A claim of the paper, as one row being better than another."""

    text: str
    better: str
    worse: str
    part_of: str = ""
    """The one of the paper's four main claims that it is part of."""


ENCODER, SCARCE = "the encoder is the bottleneck", "contrastive is better than MSE with scarce data"
ENCODER_LOSS, AUDIO_ONLY = "L_enc helps on top of L_seq", "audio-only data help"
MAIN_CLAIMS = (ENCODER, SCARCE, ENCODER_LOSS, AUDIO_ONLY)

CLAIMS = (
    PaperClaim(f"{ENCODER}: a better encoder helps a small decoder", "teacher-small", "sup-full", ENCODER),
    PaperClaim("… more than a large decoder helps a small encoder", "teacher-small", "student-large", ENCODER),
    PaperClaim("the teacher's captions help, all labelled data", "seq-full", "sup-full"),
    PaperClaim("the teacher's captions help, 10 %", "seq-scarce", "sup-scarce"),
    PaperClaim("encoder distillation by MSE helps, all labelled data", "mse-full", "seq-full", ENCODER_LOSS),
    PaperClaim("encoder distillation by MSE helps, 10 %", "mse-scarce", "seq-scarce", ENCODER_LOSS),
    PaperClaim("contrastive encoder distillation helps, all labelled data", "con-full", "seq-full", ENCODER_LOSS),
    PaperClaim("contrastive encoder distillation helps, 10 %", "con-scarce", "seq-scarce", ENCODER_LOSS),
    PaperClaim("contrastive is better than MSE, all labelled data", "con-full", "mse-full"),
    PaperClaim("contrastive is better than MSE, 10 %", "con-scarce", "mse-scarce", SCARCE),
    PaperClaim("audio-only data help, all labelled data", "audio-full", "con-full", AUDIO_ONLY),
    PaperClaim("audio-only data help, 10 %", "audio-scarce", "con-scarce", AUDIO_ONLY),
)


@dataclass(frozen=True)
class ClaimComparison:
    """One claim on one measure."""

    seeds: int
    clips: int
    gain: Interval
    """Paired interval (`edgecap_train.study.power`); the verdict goes by it."""
    resampled: Interval
    """The same by a bootstrap over seeds and clips."""
    parts: VarianceParts
    lasting_share: float
    """Of the variance, what more seeds never remove."""
    smallest: float
    """Smallest difference that as many seeds and clips decide in four studies of five."""
    seeds_for_seen: int | None
    """Seeds that decide a difference as large as the one seen, on as many clips; None: no number does."""
    clips_for_seen: int | None
    seeds_for_small: int | None
    """The same for a difference of `SMALL_GAIN`."""
    clips_for_small: int | None
    smallest_of_ten: float
    """Smallest difference that ten seeds and ten times as many clips decide."""

    @property
    def verdict(self) -> Verdict:
        """Whether the claim holds."""
        return verdict(self.gain)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"verdict": self.verdict, **asdict(self)}


def interval(scores: Scores, seed: int = 0) -> Interval:
    """Mean of (seeds, clips) with a bootstrap over both."""
    rng = np.random.default_rng(seed)
    runs, clips = scores.shape
    draws = np.empty(DRAWS)
    for draw in range(DRAWS):
        chosen = scores[rng.integers(runs, size=runs)]
        draws[draw] = chosen.mean(0)[rng.integers(clips, size=clips)].mean()
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(float(scores.mean()), float(low), float(high))


def differences(results: Results, better: str, worse: str, measure: str) -> Scores | None:
    """How much better one row is than another, (seeds, clips), on the seeds that both have; None for no such seed."""
    if better not in results.scores or worse not in results.scores:
        return None
    shared = [seed for seed in results.seeds[better] if seed in results.seeds[worse]]
    if not shared:
        return None
    a, b = (
        results.scores[key][measure][[results.seeds[key].index(seed) for seed in shared]] for key in (better, worse)
    )
    return np.asarray(a - b)


def compare(results: Results, claim: PaperClaim, measure: str) -> ClaimComparison | None:
    """A claim on a measure; None where its rows do not share two seeds."""
    apart = differences(results, claim.better, claim.worse, measure)
    if apart is None or min(apart.shape) < 2:
        return None
    (seeds, clips), parts, gain = apart.shape, variance_parts(apart), paired_interval(apart)
    seen = abs(gain.mean)
    return ClaimComparison(
        seeds=seeds,
        clips=clips,
        gain=gain,
        resampled=interval(apart),
        parts=parts,
        lasting_share=parts.lasting_share(seeds, clips),
        smallest=smallest_decided(parts, seeds, clips),
        seeds_for_seen=seeds_needed(parts, seen, clips),
        clips_for_seen=clips_needed(parts, seen, seeds),
        seeds_for_small=seeds_needed(parts, SMALL_GAIN, clips),
        clips_for_small=clips_needed(parts, SMALL_GAIN, seeds),
        smallest_of_ten=smallest_decided(parts, 10, 10 * clips),
    )


def compare_all(results: Results) -> dict[str, dict[str, ClaimComparison | None]]:
    """Text of each claim → measure → comparison."""
    return {claim.text: {measure: compare(results, claim, measure) for measure in results.sets} for claim in CLAIMS}


def verdict(gain: Interval | None) -> Verdict:
    """Whether a claim holds by the difference of its rows."""
    if gain is None:
        return "not run"
    if gain.low > 0:
        return "holds"
    return "does not hold" if gain.high < 0 else "undecided"
