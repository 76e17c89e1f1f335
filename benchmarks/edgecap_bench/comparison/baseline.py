"""Figures of the published models, recorded on another machine, for where they cannot run.

`recorded.json` beside this file is a comparison as `edgecap bench --json` writes it, without its profiles.
`python -m edgecap_bench.report` takes it from the results in the repository.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from edgecap_bench.comparison.results import Comparison, Entrant, Recorded, read_comparison, write_comparison

RECORDED = Path(__file__).with_name("baseline.json")
PUBLISHED = ("teacher", "teacher-onnx", "reference")


def recorded_entrants(kinds: Collection[str], path: Path = RECORDED) -> list[Entrant]:
    """The recorded entrants of these kinds, and the bundles that were measured beside them, each marked.

    Empty where the record holds none of the kinds. Raises ResultError.
    """
    contest = read_comparison(path)
    origin = Recorded(date=contest.date, command=contest.command, machine=contest.machine, versions=contest.versions)
    if not any(entrant.kind in kinds for entrant in contest.entrants):
        return []
    return [
        replace(entrant, recorded=origin)
        for entrant in contest.entrants
        if entrant.kind in kinds or entrant.kind == "bundle"
    ]


def record(contests: list[Comparison], path: Path = RECORDED) -> bool:
    """Keep the newest comparison with a teacher, one thread; whether there was one. Raises OutputError."""
    fit = [
        contest
        for contest in contests
        if contest.threads == 1
        and not contest.noisy
        and not contest.partial
        and {"teacher", "teacher-onnx"} <= {entrant.kind for entrant in contest.entrants}
    ]
    if not fit:
        return False
    newest = max(fit, key=lambda contest: contest.date)
    write_comparison(path, replace(newest, entrants=[replace(entrant, profile=[]) for entrant in newest.entrants]))
    return True
