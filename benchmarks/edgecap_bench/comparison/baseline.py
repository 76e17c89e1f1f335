"""`edgecap bench --compare` where the published models cannot run: figures that were recorded on another machine.

`baseline.json` beside this file is a comparison as `edgecap bench --json-file` writes it, without its profiles.
`python -m edgecap_bench.report` takes it from the results in the repository.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from edgecap.errors import MissingDependencyError, install_extra
from edgecap_bench.candidates.runner import Kind
from edgecap_bench.comparison.results import CandidateResult, Comparison, Recorded
from edgecap_bench.reports.measurement import Measurement, read_measurement, write_measurement

BASELINE = Path(__file__).with_name("baseline.json")
PUBLISHED: dict[str, tuple[Kind, ...]] = {"teacher": ("teacher", "teacher-onnx"), "reference": ("reference",)}
"""Name that --compare takes → the kinds of candidates that it adds."""
PUBLISHED_KINDS = frozenset(kind for kinds in PUBLISHED.values() for kind in kinds)
NEEDED = ("torch", "transformers", "onnx", "onnxscript", "safetensors")
"""Packages that running the published models needs."""


def recorded_candidates(kinds: Collection[Kind] = PUBLISHED_KINDS, path: Path = BASELINE) -> list[CandidateResult]:
    """The recorded candidates of these kinds, and the bundles that were measured beside them, each marked.

    Empty where the record holds none of the kinds, and where there is no record. Raises ResultError.
    """
    if not path.is_file():
        return []
    measurement = read_measurement(path, Comparison)
    header, candidates = measurement.header, measurement.body.candidates
    if not any(each.kind in kinds for each in candidates):
        return []
    origin = Recorded(date=header.date, command=header.command, machine=header.machine, versions=header.versions)
    return [replace(each, recorded=origin) for each in candidates if each.kind in kinds or each.kind == "bundle"]


def recorded_for(compare: Sequence[str], path: Path = BASELINE) -> list[CandidateResult]:
    """Recorded figures for the published models that cannot run here; empty where all that are requested can.

    Raises MissingDependencyError where there is no record of one.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    requested = [name for name in PUBLISHED if name in compare]
    if not requested or not missing:
        return []
    candidates = recorded_candidates({kind for name in requested for kind in PUBLISHED[name]}, path)
    kinds = {each.kind for each in candidates}
    for name in requested:
        if not kinds.intersection(PUBLISHED[name]):
            raise MissingDependencyError(
                f"--compare {name} needs {', '.join(missing)}, which are not installed, and its figures are not "
                f"recorded; leave it out, or type: {install_extra('bench')}"
            )
    return candidates


def record(comparisons: Iterable[Measurement[Comparison]], path: Path = BASELINE) -> bool:
    """Keep the newest comparison with a teacher, one thread; whether there was one. Raises OutputError."""
    suitable = [
        each
        for each in comparisons
        if each.body.threads == 1
        and not (each.header.noisy or each.header.partial)
        and set(PUBLISHED["teacher"]) <= {candidate.kind for candidate in each.body.candidates}
    ]
    if not suitable:
        return False
    newest = max(suitable, key=lambda each: each.header.date)
    candidates = [replace(candidate, profile=[]) for candidate in newest.body.candidates]
    write_measurement(path, Measurement(newest.header, replace(newest.body, candidates=candidates)))
    return True
