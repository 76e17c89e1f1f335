"""How far a fitted probability can be trusted: each side by a fit without it, and faults that no fit has heard.

A side is a source of the recordings, or a held-out set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgecap.bundle.confidence import ConfidenceSpec
from edgecap.confidence import Confidence
from edgecap.util.progress import Progress
from edgecap_train.confidence.fit import fit
from edgecap_train.confidence.material import PLAIN, Heard
from edgecap_train.confidence.targets import targets
from edgecap_train.evaluation.calibration import CLAIM, CalibrationFigures, at_half_coverage, calibration
from edgecap_train.evaluation.held_out import Reference, cider_d

SETS = "held-out sets"
LEAST_HALVED = 10
"""Recordings of a source of which a half tells anything."""


@dataclass(frozen=True)
class ConfidenceReport:
    """Figures on sounds that a fit had not seen."""

    sides: dict[str, CalibrationFigures]
    """By source of the recordings, and "all", `PLAIN` (the others are degraded too), `SETS` (as the tagger judges, and
    where it does not know, as often right as people say of such captions) and those where the tagger knows."""
    broad: CalibrationFigures
    """Of the broader statements, all recordings."""
    level_of_sides: float
    """Root mean square, over all sides, of mean confidence less share right: what a fit does not know of a new side."""
    half_coverage: float
    """Mean CIDEr-D of the surer half of the recordings, over that of all, mean of the sources; degraded ones apart."""
    half_coverage_pooled: float
    """The same of the sources with at least ten recordings, each weighing by the CIDEr-D that its recordings have: a
    half of four tells nothing, and counts for a quarter in the mean."""
    faults: int
    fault_claims: int
    """Generated faults of another seed with a confidence above one half."""

    def metrics(self) -> dict[str, float]:
        """For a bundle's manifest."""
        return {
            "confidence_error": round(self.sides["all"].error, 4),
            "confidence_error_by_chance": round(self.sides["all"].by_chance, 4),
            "confidence_error_sets": round(self.sides[SETS].error, 4),
            "confidence_ranking": round(self.sides["all"].ranking, 4),
            "confidence_half_coverage": round(self.half_coverage, 3),
            "confidence_fault_claims": self.fault_claims / max(1, self.faults),
        }


@dataclass(frozen=True)
class _Assessed:
    """A caption assessed by a fit without its side."""

    row: Heard
    right: float
    broad: float
    """Targets of a fit; NaN where nobody knows."""
    confidence: float
    broad_confidence: float


def confidence_of(spec: ConfidenceSpec, vocabulary: Sequence[str]) -> Confidence:
    """What a runtime makes of it."""
    return Confidence(spec, embedding_dim=spec.embedding_dim, vocabulary_size=len(vocabulary))


def cross_validated(
    rows: Sequence[Heard],
    vocabulary: Sequence[str],
    references: Sequence[Reference],
    spec: ConfidenceSpec,
    faults: Sequence[Heard],
    *,
    progress: Progress,
) -> ConfidenceReport:
    """Fit without each side and test there; `faults` are tested with `spec`, fitted to all `rows`.

    With one source of recordings alone it cannot be left out, and its figures are those of what was learnt.
    """
    sources = sorted({row.side for row in rows if row.people})
    sets = sorted({row.side for row in rows if not row.people and not row.fault})
    assessed: dict[str, list[_Assessed]] = {}
    for done, name in enumerate((*sources, *sets)):
        progress(done, len(sources) + len(sets), "fits without a side")
        others = [row for row in rows if row.side != name]
        alone = len(sources if name in sources else sets) == 1
        without = confidence_of(spec if alone else fit(others, vocabulary), vocabulary)
        assessed[name] = _assessed(rows, name, without)
    progress(1, 1)
    recordings = [one for name in sources for one in assessed[name]]
    tagged = [one for name in sets for one in assessed[name]]
    groups = {"all": recordings, PLAIN: [one for one in recordings if one.row.condition == PLAIN]}
    groups |= {name: assessed[name] for name in sources}
    groups |= {SETS: tagged, f"{SETS}, where the tagger knows": [one for one in tagged if one.row.right is not None]}
    sides = {name: figures for name, ones in groups.items() if (figures := _figures(ones))}
    levels = [one.confidence - one.right for each in assessed.values() if (one := _figures(each))]
    captions = {str(one.file): one.captions for one in references}
    halves = [half for name in sources if (half := _worth(assessed[name], captions))]
    ample = [half for half in halves if len(half[0]) >= LEAST_HALVED]
    final = confidence_of(spec, vocabulary)
    broad = [one for one in recordings if not math.isnan(one.broad)]
    return ConfidenceReport(
        sides,
        calibration([one.broad_confidence for one in broad], [one.broad for one in broad], _clips(broad)),
        math.sqrt(sum(level**2 for level in levels) / len(levels)),
        sum(at_half_coverage(*half) for half in halves) / max(1, len(halves)),
        sum(at_half_coverage(*half) * sum(half[1]) for half in ample) / max(1e-12, sum(sum(half[1]) for half in ample)),
        len(faults),
        sum(final(row.embedding, row.beams).confidence > CLAIM for row in faults),
    )


def _assessed(rows: Sequence[Heard], side: str, assess: Confidence) -> list[_Assessed]:
    """The rows of a side; what the tagger does not know is told by people's judgement of the other sides."""
    inside = [row for row in rows if row.side == side and not row.fault]
    wanted = targets(inside, [row for row in rows if row.side != side])
    answers = [assess(row.embedding, row.beams) for row in inside]
    return [
        _Assessed(row, right, broad, answer.confidence, answer.broad)
        for row, right, broad, answer in zip(inside, wanted.right.tolist(), wanted.broad.tolist(), answers, strict=True)
    ]


def _clips(ones: Sequence[_Assessed]) -> list[str]:
    return [one.row.clip for one in ones]


def _figures(ones: Sequence[_Assessed]) -> CalibrationFigures | None:
    known = [one for one in ones if not math.isnan(one.right)]
    if not known:
        return None
    return calibration([one.confidence for one in known], [one.right for one in known], _clips(known))


def _worth(ones: Sequence[_Assessed], captions: dict[str, tuple[str, ...]]) -> tuple[list[float], list[float]] | None:
    """Confidences of a source's recordings as they are, and CIDEr-D of their captions; None for fewer than two."""
    plain = [one for one in ones if one.row.condition == PLAIN]
    if len(plain) < 2:
        return None
    texts, people = [one.row.beams[0].text for one in plain], [captions[one.row.clip] for one in plain]
    return [one.confidence for one in plain], list(cider_d(texts, people).clips)
