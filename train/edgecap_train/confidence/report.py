"""How far a fitted probability can be trusted: each source of recordings by a fit without it, and unheard faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgecap.bundle.confidence import ConfidenceSpec
from edgecap.confidence import Confidence
from edgecap_train.confidence.fit import fit
from edgecap_train.confidence.material import PLAIN, Heard
from edgecap_train.evaluation.calibration import CLAIM, CalibrationFigures, at_half_coverage, calibration
from edgecap_train.evaluation.held_out import Reference, cider_d


@dataclass(frozen=True)
class ConfidenceReport:
    """Figures on sounds that a fit had not seen."""

    sides: dict[str, CalibrationFigures]
    """By source of the recordings, and "all" and "as recorded" (the others are degraded too)."""
    broad: CalibrationFigures
    """Of the broader statements, all recordings."""
    half_coverage: float
    """Mean CIDEr-D of the surer half of the recordings, over that of all, mean of the sources; degraded ones apart."""
    faults: int
    fault_claims: int
    """Generated faults of another seed with a confidence above one half."""

    def metrics(self) -> dict[str, float]:
        """For a bundle's manifest."""
        return {
            "confidence_error": round(self.sides["all"].error, 4),
            "confidence_ranking": round(self.sides["all"].ranking, 4),
            "confidence_half_coverage": round(self.half_coverage, 3),
            "confidence_fault_claims": self.fault_claims / max(1, self.faults),
        }


def confidence_of(spec: ConfidenceSpec, vocabulary: Sequence[str]) -> Confidence:
    """What a runtime makes of it."""
    return Confidence(spec, embedding_dim=spec.embedding_dim, vocabulary_size=len(vocabulary))


def cross_validated(
    rows: Sequence[Heard],
    vocabulary: Sequence[str],
    references: Sequence[Reference],
    spec: ConfidenceSpec,
    faults: Sequence[Heard],
) -> ConfidenceReport:
    """Fit without each source of recordings and test there; `faults` are tested with `spec`, fitted to all `rows`.

    With one source alone its recordings cannot be left out, and the figures are those of what was learnt.
    """
    names = sorted({row.side for row in rows if row.scores is None and not row.fault})
    captions = {str(one.file): one.captions for one in references}
    tested: list[tuple[Heard, float, float]] = []
    gains = []
    for name in names:
        others = [row for row in rows if row.fault or row.scores is not None or row.side != name]
        assess = confidence_of(fit(others, vocabulary) if len(names) > 1 else spec, vocabulary)
        inside = [row for row in rows if row.scores is None and not row.fault and row.side == name]
        answers = [assess(row.embedding, row.beams) for row in inside]
        tested += [(row, answer.confidence, answer.broad) for row, answer in zip(inside, answers, strict=True)]
        plain = [(row, a.confidence) for row, a in zip(inside, answers, strict=True) if row.condition == PLAIN]
        if len(plain) > 1:
            worth = cider_d([row.beams[0].text for row, _ in plain], [captions[row.clip] for row, _ in plain]).clips
            gains.append(at_half_coverage([value for _, value in plain], worth))
    known = [(row, right, broad) for row, right, broad in tested if row.right is not None and row.broad is not None]
    groups = {"all": known, PLAIN: [one for one in known if one[0].condition == PLAIN]}
    groups |= {name: [one for one in known if one[0].side == name] for name in names}
    final = confidence_of(spec, vocabulary)
    return ConfidenceReport(
        {
            name: calibration([value for _, value, _ in ones], [bool(row.right) for row, _, _ in ones])
            for name, ones in groups.items()
            if ones
        },
        calibration([value for _, _, value in known], [bool(row.broad) for row, _, _ in known]),
        sum(gains) / max(1, len(gains)),
        len(faults),
        sum(final(row.embedding, row.beams).confidence > CLAIM for row in faults),
    )
