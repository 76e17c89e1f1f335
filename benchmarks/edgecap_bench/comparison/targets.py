"""What is wanted of a comparison: how much faster, how much smaller, how sure."""

from __future__ import annotations

from edgecap_bench.candidates.runner import Kind
from edgecap_bench.comparison.results import CandidateResult, Comparison
from edgecap_bench.harness.timing import Summary

TIMES_FASTER: dict[tuple[Kind, str], float] = {
    ("teacher", "fp32"): 40.0,
    ("teacher", "int8"): 80.0,
    ("teacher-onnx", "fp32"): 19.0,
    ("teacher-onnx", "int8"): 35.0,
    ("reference", "fp32"): 4.0,
    ("reference", "int8"): 8.0,
}
"""At least so many times as fast as a baseline, by the bundle's precision; one thread, ONNX Runtime."""
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
BASELINES: tuple[Kind, ...] = ("teacher", "teacher-onnx", "reference")


def wanted(baseline: CandidateResult, candidate: CandidateResult, threads: int) -> float | None:
    """How many times as fast as the baseline a bundle must be at least; None where nothing is wanted."""
    if candidate.runtime not in ("", "onnx") or threads != 1 or baseline.recorded:
        return None
    return TIMES_FASTER.get((baseline.kind, candidate.precision))


def confidence(ratio: Summary) -> str:
    """What a ratio's interval is worth, in words."""
    if ratio.count < FEWEST_ROUNDS:
        return "too few rounds"
    too_wide = max(ratio.high - ratio.median, ratio.median - ratio.low) > WIDEST * ratio.median
    return "too wide" if too_wide else f"within {100 * WIDEST:g} %"


def misses(comparison: Comparison) -> list[tuple[CandidateResult, CandidateResult, float, float]]:
    """Bundles that are slower than wanted: bundle, baseline, how many times as fast, how many wanted."""
    missed = []
    for baseline in comparison.measured(BASELINES):
        for candidate in comparison.measured(("bundle",)):
            least = wanted(baseline, candidate, comparison.threads)
            ratio = candidate.times_faster_than(baseline).median
            if least is not None and ratio < least:
                missed.append((candidate, baseline, ratio, least))
    return missed
