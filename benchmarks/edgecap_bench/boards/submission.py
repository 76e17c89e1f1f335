"""A board's file: every model that is here, measured on a board that its owner has, to be taken into the table.

One JSON object: the comparison of the models in turns, the figures of the default model, and what each model says of
four computed sounds, so that a reader sees whether the board captions as others do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from edgecap.bundle.models import list_models
from edgecap.captioner import Captioner
from edgecap.errors import BundleError, EdgecapError, ResultError
from edgecap.util.files import write_atomically
from edgecap_bench.comparison.results import FORMAT_VERSION as CONTEST_VERSION
from edgecap_bench.comparison.results import Comparison
from edgecap_bench.harness.clips import made_clips
from edgecap_bench.reports.results import FORMAT_VERSION as RESULT_VERSION
from edgecap_bench.reports.results import Result, read_document

FORMAT: Literal["edgecap-bench-submission"] = "edgecap-bench-submission"
FORMAT_VERSION = 1
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class ModelCaptions:
    """What one model says of the computed sounds."""

    key: str
    graphs: dict[str, str]
    """SHA-256 of its programs by role."""
    captions: list[str]


@dataclass(frozen=True, kw_only=True)
class Submission:
    """All of the file. Machine, kernel, governor, heat, date and versions are those of the comparison in it."""

    format: Literal["edgecap-bench-submission"]
    format_version: int
    contest: Comparison
    figures: Result | None
    """Of the default model; None where the run was cut short before."""
    said: list[ModelCaptions] = field(default_factory=list)

    @property
    def partial(self) -> bool:
        """Whether the run was cut short."""
        return self.contest.partial or self.figures is None or self.figures.partial

    @property
    def noisy(self) -> bool:
        """Whether other programs took so much that it is no result."""
        return self.contest.noisy or (self.figures is not None and self.figures.noisy)


def models_here() -> tuple[list[str], list[str]]:
    """Folders of all models that load here, and a line for each that does not. Raises BundleError where none does."""
    found, left_out = [], []
    seen: set[tuple[str, ...]] = set()
    for model in list_models():
        if model.manifest is None:
            left_out.append(f"{model.name}: {model.fault}")
            continue
        programs = tuple(sorted(entry.sha256 for entry in model.manifest.files))
        if programs in seen:  # the same model in the package and in the user's folder
            continue
        seen.add(programs)
        try:
            Captioner.load(model.folder, threads=1)
        except EdgecapError as error:
            left_out.append(f"{model.name}: {error}")
            continue
        found.append(str(model.folder))
    if not found:
        raise BundleError("no model that is here can run; edgecap models lists them, edgecap caption says why")
    return found, left_out


def said_by(entries: Sequence[tuple[str, Path, dict[str, str]]], progress: Progress) -> list[ModelCaptions]:
    """Captions of the computed sounds by each model: its key, its folder, and the SHA-256 of its programs."""
    found = []
    for number, (key, folder, graphs) in enumerate(entries):
        progress("captions", number, len(entries))
        captioner = Captioner.load(folder, threads=1)
        rate = captioner.manifest.front_end.sample_rate
        sounds = made_clips(rate, round(captioner.window * rate))
        found.append(
            ModelCaptions(key=key, graphs=graphs, captions=[captioner.caption(s.samples, rate).text for s in sounds])
        )
    return found


def write_submission(path: Path, submission: Submission) -> None:
    """Write it whole or not at all. Raises OutputError."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(submission), indent=1) + b"\n")


def read_submission(path: Path) -> Submission:
    """Raises ResultError for what cannot be read, or is of another format or version, also of a part in it."""
    found = read_document(path, FORMAT, FORMAT_VERSION, Submission)
    parts = [(found.contest.format_version, CONTEST_VERSION)]
    parts += [(found.figures.format_version, RESULT_VERSION)] if found.figures else []
    for version, known in parts:
        if version != known:
            raise ResultError(
                f"{path} holds a part of format version {version!r} and this edgecap reads {known}; "
                "measure again with edgecap bench --submit-file"
            )
    return found
