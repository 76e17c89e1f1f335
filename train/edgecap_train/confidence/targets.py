"""What each caption counts for in a fit: how probably it is right, and how much it weighs.

Where the tagger does not know, it is more often because nothing is loud than because the caption is wrong; to leave
such captions out would keep, of quiet sounds, the wrong ones alone. They count as right by the share that people call
right of such captions of the recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecap_train.confidence.judging import judged_by_tagger
from edgecap_train.confidence.material import Heard

RECORDING_WEIGHT = 2.0
"""Of a recording that people captioned beside a clip of a set, under however many conditions it was heard."""
PRIOR_SHARE, PRIOR_RECORDINGS = 0.5, 5.0
"""What is supposed of captions that the tagger does not know about, and as how many recordings that counts."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FitTargets:
    """Of rows, in their order."""

    right: Floats
    """(rows,) probability that the caption is right, of 1 and 0 nearly everywhere; NaN where nobody knows."""
    broad: Floats
    """Likewise, that its group is."""
    weights: Floats
    """(rows,)."""

    @property
    def known(self) -> NDArray[np.intp]:
        """Places of the rows with a target."""
        return np.flatnonzero(~np.isnan(self.right) & ~np.isnan(self.broad))


def targets(rows: Sequence[Heard], judges: Sequence[Heard] | None = None) -> FitTargets:
    """What the rows count for; people's judgement of `judges` (the rows themselves) tells what the tagger does not."""
    right, broad = _unknown_shares(rows if judges is None else judges)
    return FitTargets(
        np.array([_target(row, row.right, right) for row in rows]),
        np.array([_target(row, row.broad, broad) for row in rows]),
        row_weights(rows),
    )


def row_weights(rows: Sequence[Heard]) -> Floats:
    """(rows,): rows of one clip weigh together as much as two, since they are no more than that; a fault's row one."""
    _, owners, counts = np.unique([row.clip for row in rows], return_inverse=True, return_counts=True)
    people = np.array([RECORDING_WEIGHT if row.people else 1.0 for row in rows])
    return np.where([row.fault for row in rows], 1.0, 2.0 * people / counts[owners])


def _target(row: Heard, judged: bool | None, unknown: float) -> float:
    if row.fault:
        return 0.0
    return float(judged) if judged is not None else np.nan if row.people else unknown


def _unknown_shares(rows: Sequence[Heard]) -> tuple[float, float]:
    """Shares of captions right by people where the tagger does not know: of the main source, and of the group."""
    asked = [(row, row.scores) for row in rows if row.people and row.scores is not None]
    verdicts = [judged_by_tagger(scores)(row.beams[0].text) for row, scores in asked]
    _, owners, counts = np.unique([row.clip for row, _ in asked], return_inverse=True, return_counts=True)
    shares = []
    for place, answers in enumerate(([row.right for row, _ in asked], [row.broad for row, _ in asked])):
        total = right = 0.0  # in recordings
        for answer, verdict, count in zip(answers, verdicts, counts[owners], strict=True):
            if verdict[place] is None and answer is not None:
                total += 1.0 / count
                right += answer / count
        shares.append((right + PRIOR_RECORDINGS * PRIOR_SHARE) / (total + PRIOR_RECORDINGS))
    return shares[0], shares[1]
