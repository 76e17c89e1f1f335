"""Results of a study: read from the files of its runs, and kept in one document that its report can be made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import ResultError
from edgecap.util.files import to_json
from edgecap_train.study.study import Row, StudyRecipe

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Results:
    """What the runs of a study gave."""

    recipe: StudyRecipe
    sets: dict[str, dict[str, int]]
    """Measure → evaluation set → its clips, in the order of the scores."""
    scores: dict[str, dict[str, Scores]]
    """Row → measure → score of each clip of all sets, (seeds, clips)."""
    seeds: dict[str, list[int]]
    runs: list[dict[str, Any]]
    """The result files, without the clips' scores and captions."""
    notes: tuple[str, ...] = ()
    """What a reader of these figures must know beside the recipe."""

    def of_set(self, row: str, measure: str, name: str) -> Scores:
        """Scores of one evaluation set, (seeds, clips)."""
        start = 0
        for other, clips in self.sets[measure].items():
            if other == name:
                return self.scores[row][measure][:, start : start + clips]
            start += clips
        raise KeyError(name)

    def document(self) -> dict[str, Any]:
        """All of it as JSON."""
        scores = {
            row: {measure: array.tolist() for measure, array in measures.items()}
            for row, measures in self.scores.items()
        }
        return {
            "recipe": asdict(self.recipe),
            "notes": self.notes,
            "sets": self.sets,
            "runs": self.runs,
            "scores": scores,
        }


def read_results(folder: Path, recipe: StudyRecipe) -> Results:
    """All result files of a study's folder.

    Raises ResultError where two runs were judged on different sets: they do not compare.
    """
    by_row: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        by_row.setdefault(run["row"], []).append(run)
    sets: dict[str, dict[str, int]] | None = None
    scores, seeds, runs = {}, {}, []
    for key, group in by_row.items():
        group.sort(key=lambda run: int(run["seed"]))
        for run in group:
            judged = {name: {one: len(clips) for one, clips in of.items()} for name, of in run["scores"].items()}
            if sets is not None and judged != sets:
                raise ResultError(
                    f"{key}-{run['seed']} was judged on other clips than the runs before it; run it again"
                )
            sets = judged
        scores[key] = {
            measure: np.array([np.concatenate([*run["scores"][measure].values()]) for run in group], np.float64)
            for measure in sets or {}
        }
        seeds[key] = [int(run["seed"]) for run in group]
        runs += [{name: value for name, value in run.items() if name not in ("scores", "captions")} for run in group]
    return Results(recipe, sets or {}, scores, seeds, runs)


def write_document(results: Results, claims: Sequence[dict[str, Any]]) -> str:
    """The stored form: results, and what the claims come to."""
    return to_json({**results.document(), "claims": claims}) + "\n"


def read_stored(path: Path) -> Results:
    """Results from the stored form. Raises ResultError for another."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        scores = {
            row: {measure: np.array(rows, np.float64) for measure, rows in measures.items()}
            for row, measures in document["scores"].items()
        }
        seeds: dict[str, list[int]] = {}
        for run in document["runs"]:
            seeds.setdefault(run["row"], []).append(int(run["seed"]))
        results = Results(
            StudyRecipe(**document["recipe"]),
            document["sets"],
            scores,
            seeds,
            document["runs"],
            tuple(document.get("notes", ())),
        )
        clips = {measure: sum(sets.values()) for measure, sets in results.sets.items()}
        for row, measures in scores.items():
            shapes = {measure: array.shape for measure, array in measures.items()}
            if shapes != {measure: (len(seeds[row]), count) for measure, count in clips.items()}:
                raise ValueError(f"the scores of {row} are not of its seeds and sets")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultError(
            f"{path.name} does not hold the results of a study ({error}); edgecap train study writes it"
        ) from error
    return results


def missing(results: Results, rows: Sequence[Row]) -> list[str]:
    """Rows and seeds of the recipe without a result, as "row-seed"."""
    seeds = results.recipe.seeds
    return [f"{row.key}-{seed}" for row in rows for seed in seeds if seed not in results.seeds.get(row.key, [])]
