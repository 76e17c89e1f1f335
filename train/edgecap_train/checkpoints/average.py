"""The mean of several students' weights, which is often worth more than each of them.

Students that learnt on from the same weights lie in one basin: the mean of what they became keeps what each learnt and
forgets less of where they began, at no cost when it runs (Wortsman et al. 2022, arXiv 2203.05482 and 2109.01903).
Students that began at random each have nothing in common, and their mean is worth nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from edgecap.errors import CheckpointError, ConfigError
from edgecap_train.checkpoints.checkpoint import OWN_FILE, SavedStudent, load_student, save_student
from edgecap_train.models.student import StudentConfig

LEAST = 2
"""Students that have a mean."""
WORDS = "decoder.embedding.weight"
"""The one tensor that has a row for each word."""


def average_students(paths: Sequence[Path], out: Path, shares: Sequence[float] = ()) -> None:
    """Write the mean of the students at `paths`, files or run folders, to the file `out`.

    `shares`: how much each counts, positive, in any unit; all alike where it is empty. The vocabulary is that of the
    first; the row of a word is the mean of those that know it. Sums are made in float32. All licences
    that they state hold.

    Raises ConfigError for fewer than two students or shares that do not fit them, CheckpointError for a file that is no
    student of edgecap's or has another shape than the first, OutputError.
    """
    if len(paths) < LEAST:
        raise ConfigError("a mean needs at least two students; name two or more runs or student.safetensors")
    if shares and len(shares) != len(paths):
        raise ConfigError(f"{len(paths)} students and {len(shares)} shares; give --share once for each, or never")
    weights = list(shares) or [1.0] * len(paths)
    students = [load_student(path / OWN_FILE if path.is_dir() else path) for path in paths]
    first = students[0]
    for path, other in zip(paths[1:], students[1:], strict=True):
        if _shape(other) != _shape(first):
            raise CheckpointError(f"{path} has another shape than {paths[0]}; only students of one recipe have a mean")
    mean: dict[str, Tensor] = {}
    for name, tensor in first.student.state_dict().items():
        if name == WORDS:
            mean[name] = _mean_of_words(students, weights)
        elif tensor.is_floating_point():
            parts = [
                weight * one.student.state_dict()[name].float() for one, weight in zip(students, weights, strict=True)
            ]
            mean[name] = torch.stack(parts).sum(0) / sum(weights)
        else:
            mean[name] = tensor
    first.student.load_state_dict(mean)
    of = ", ".join(f"{weight:g} of {one.sha256}" for one, weight in zip(students, weights, strict=True))
    licences = sorted({one.metadata["licence"] for one in students if "licence" in one.metadata})
    metadata = {"recipe": "mean", "of": of, **({"licence": " AND ".join(licences)} if licences else {})}
    save_student(out, first.student, first.vocabulary, metadata)


def _shape(saved: SavedStudent) -> StudentConfig:
    return replace(saved.student.config, vocabulary_size=0, dropout=0.0)


def _mean_of_words(students: Sequence[SavedStudent], weights: Sequence[float]) -> Tensor:
    """Rows (words, d_model) of the first one's vocabulary."""
    words = students[0].vocabulary
    total = torch.zeros(len(words), students[0].student.config.d_model)
    count = torch.zeros(len(words), 1)
    for saved, weight in zip(students, weights, strict=True):
        place = {word: row for row, word in enumerate(saved.vocabulary)}
        known = [row for row, word in enumerate(words) if word in place]
        table = saved.student.state_dict()[WORDS].float()
        total[known] += weight * table[[place[words[row]] for row in known]]
        count[known] += weight
    return total / count
