"""A result: what was measured, of what, with what and where, as one JSON file.

Reading is strict, as with a bundle's manifest: another version of the format is refused by its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from edgecap.errors import ResultError
from edgecap.util.files import write_atomically
from edgecap_bench.harness.machine import Machine
from edgecap_bench.harness.timing import Summary, summarise

FORMAT: Literal["edgecap-bench"] = "edgecap-bench"
FORMAT_VERSION = 1
Document = TypeVar("Document")
Unit = Literal["s", "B"]
"""Seconds or bytes."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure, with every value that was taken."""

    name: str
    unit: Unit
    sample: list[float]
    target: float | None = None
    """At most this much is wanted, in the same unit; None where nothing is."""

    @property
    def summary(self) -> Summary:
        """Median and spread of the sample."""
        return summarise(self.sample)

    @property
    def reached(self) -> bool | None:
        """Whether the median keeps the target; None where there is none."""
        return None if self.target is None else self.summary.median <= self.target


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The model that was measured."""

    name: str
    runtime: str
    precision: str
    size_bytes: int
    sha256: dict[str, str]
    """Of the graphs, by role."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How it was measured."""

    rounds: int
    starts: int
    """New processes for each figure that is of a whole process."""
    threads: int
    beam: int
    clips: list[str]
    steps: list[int]
    """Decoder steps that each clip takes."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """All of a result file."""

    format: Literal["edgecap-bench"]
    format_version: int
    date: str
    """When the run began, ISO 8601 with the offset from UTC."""
    command: str
    """What was typed, without the folders of this machine."""
    machine: Machine
    versions: dict[str, str]
    subject: Subject
    settings: Settings
    figures: list[Figure]
    others_before: float | None
    """Cores that other programs took before the run; None where the system does not say."""
    others_during: float | None
    noisy: bool
    """Whether others took so much that the figures are no result."""
    partial: bool = False
    """Whether the run was cut short; the figures that are here were measured as asked."""


def write_result(path: Path, result: Result) -> None:
    """Write a result to `path`, whole or not at all. Raises OutputError."""
    text = msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"
    write_atomically(path, text)


def read_result(path: Path) -> Result:
    """Read a result file. Raises ResultError for one that cannot be read, or is of another format or version."""
    return read_document(path, FORMAT, FORMAT_VERSION, Result)


def read_document(path: Path, document_format: str, version: int, kind: type[Document]) -> Document:
    """Read a file of the given format and version. Raises ResultError."""
    content = _content(path)
    try:
        head = msgspec.json.decode(content)
        if not isinstance(head, dict) or head.get("format") != document_format:
            raise ResultError(f"{path} is no result of edgecap bench; give a file that edgecap bench --json wrote")
        if head.get("format_version") != version:
            raise ResultError(
                f"{path} has format version {head.get('format_version')!r} and this edgecap reads "
                f"{version}; measure again with edgecap bench --json"
            )
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise ResultError(f"{path} is damaged ({error}); measure again with edgecap bench --json") from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ResultError(f"{path} cannot be read ({error.strerror or error}); check its name") from error
