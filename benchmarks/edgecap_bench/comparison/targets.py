"""What is wanted of a comparison: how much faster, how much smaller, how sure."""

from __future__ import annotations

from collections.abc import Sequence

from edgecap_bench.comparison.results import Comparison, Entrant
from edgecap_bench.harness.timing import Summary

TIMES_FASTER = {
    ("teacher", "fp32"): 40.0,
    ("teacher", "int8"): 80.0,
    ("teacher-onnx", "fp32"): 19.0,
    ("teacher-onnx", "int8"): 35.0,
    ("reference", "fp32"): 4.0,
    ("reference", "int8"): 8.0,
}
"""At least so often as fast as a baseline, by the bundle's precision; one thread, ONNX Runtime."""
MOST_PARAMETERS, MOST_BYTES_INT8 = 0.068, 0.02
"""At most this share of the teacher's parameters, and in int8 of its bytes."""
TEACHER_PARAMETERS = 171_336_151
"""As published, which counts an AudioSet head and fixed matrices that captioning does not need (2 % of them)."""
WIDEST = 0.1
"""A ratio whose 95 % interval reaches further than this part of it to either side is too loose."""
FEWEST_ROUNDS = 6
"""With fewer, no two of the times hold the median between them with 95 % confidence."""
MOST_SECONDS = 360.0
"""The whole comparison."""
BASELINES = ("teacher", "teacher-onnx", "reference", "tagger")


def wanted(baseline: Entrant, entrant: Entrant, threads: int) -> float | None:
    """How many times as fast as the baseline a bundle must be at least; None where nothing was promised."""
    if entrant.runtime not in ("", "onnx") or threads != 1 or baseline.recorded:
        return None
    return TIMES_FASTER.get((baseline.kind, entrant.precision))


def too_wide(ratio: Summary) -> bool:
    """Whether the interval of a ratio reaches further than `WIDEST` of it to either side."""
    return max(ratio.high - ratio.median, ratio.median - ratio.low) > WIDEST * ratio.median


def sureness(ratio: Summary) -> str:
    """What a ratio's interval is worth, in words."""
    if ratio.count < FEWEST_ROUNDS:
        return "too few rounds"
    return "too wide" if too_wide(ratio) else f"within {WIDEST:.0%}".replace("%", " %")


def here(contest: Comparison, kinds: Sequence[str]) -> list[Entrant]:
    """Entrants of these kinds that were measured in this run."""
    return [entrant for entrant in contest.entrants if entrant.kind in kinds and entrant.recorded is None]


def misses(contest: Comparison) -> list[tuple[Entrant, Entrant, float, float]]:
    """Bundles that are slower than wanted: bundle, baseline, how often as fast, how often wanted."""
    found = []
    for baseline in here(contest, BASELINES):
        for entrant in here(contest, ("bundle",)):
            least = wanted(baseline, entrant, contest.threads)
            ratio = entrant.times_faster_than(baseline).median
            if least is not None and ratio < least:
                found.append((entrant, baseline, ratio, least))
    return found
