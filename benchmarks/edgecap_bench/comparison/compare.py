"""`edgecap bench --compare`: from what was asked to a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

from edgecap.errors import MissingDependencyError
from edgecap_bench.candidates.lineup import ComparisonPlan, Progress
from edgecap_bench.comparison.baseline import PUBLISHED, RECORDED, recorded_entrants
from edgecap_bench.comparison.comparison import compare_candidates
from edgecap_bench.comparison.results import FORMAT, FORMAT_VERSION, Comparison, Entrant
from edgecap_bench.harness import load
from edgecap_bench.harness.machine import now, this_machine, versions

TEACHER, REFERENCE, TAGGER = "teacher", "reference", "tagger"
NAMES = (TEACHER, REFERENCE, TAGGER)
NEEDED = ("torch", "transformers", "onnx", "onnxscript", "safetensors")
RUNTIME_PACKAGES = ("torch", "transformers", "executorch", "ai-edge-litert")


def recorded_for(compare: Sequence[str]) -> list[Entrant]:
    """Recorded figures for the published models that cannot run here; empty where all that were asked for can.

    Raises MissingDependencyError where there is no record of one.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    asked = [name for name in NAMES if name in compare]
    if not asked or not missing:
        return []
    kinds = {kind for name in asked for kind in (*PUBLISHED, TAGGER) if kind.split("-")[0] == name}
    found = recorded_entrants(kinds) if RECORDED.is_file() else []
    kept = {entrant.kind for entrant in found}
    for name in asked:
        if name not in kept:
            raise MissingDependencyError(
                f"--compare {name} needs {', '.join(missing)}, which are not installed, and "
                'there is no record of it; type: pip install "edgecap[bench]", or leave it '
                "out"
            )
    return found


def recorded_published() -> list[Entrant]:
    """All recorded figures of published models; empty where there is no record."""
    return recorded_entrants(PUBLISHED) if RECORDED.is_file() else []


def run(
    plan: ComparisonPlan, recorded: Sequence[Entrant], watch: load.Watch, *, command: str, progress: Progress
) -> Comparison:
    """Run a comparison. Raises EdgecapError."""
    if recorded:
        plan = replace(plan, teacher=False, reference=False, tagger=False)
    date = now()
    found = compare_candidates(plan, progress)
    watch.end()
    return Comparison(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        date=date,
        command=command,
        machine=this_machine(),
        versions=versions(*RUNTIME_PACKAGES),
        threads=plan.threads,
        beam=plan.beam,
        tokens=plan.tokens,
        clips=found.clips,
        clip_seconds=found.clip_seconds,
        rounds=plan.rounds,
        entrants=[*found.entrants, *recorded],
        others_before=watch.before,
        others_during=watch.during,
        noisy=watch.noisy,
        partial=found.partial,
        before=found.before,
        after=found.after,
        energy=found.energy,
        left_out=found.left_out,
        took_seconds=found.took_seconds,
    )
