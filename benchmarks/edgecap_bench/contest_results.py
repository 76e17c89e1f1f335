"""A comparison: what several contestants took on the same clips, taking turns, as one JSON file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from edgecap_bench.machine import Machine
from edgecap_bench.results import read_document, write_whole
from edgecap_bench.runners import Kind
from edgecap_bench.timing import Summary, summarise

FORMAT: Literal["edgecap-bench-comparison"] = "edgecap-bench-comparison"
FORMAT_VERSION = 1
STAGES = ("front end", "encoder", "decoder", "caption")


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """What one contestant is and took."""

    key: str
    kind: Kind
    label: str
    """What it is, in words."""
    precision: str
    random_weights: bool
    """Whether its weights were drawn for this run; speed does not depend on them."""
    size_bytes: int
    """Of its files."""
    load_seconds: float
    """From the start of its process to a model that could caption: interpreter, imports, weights."""
    peak_bytes: int
    """Resident memory of its process at its highest."""
    seconds: dict[str, list[float]]
    """Of each stage (`STAGES`) in each whole round; "caption" is the three together."""
    parameters: int | None = None
    """None where a run was cut short before they were counted, or where they cannot be."""
    encoder_multiply_adds: int | None = None
    """For one clip."""
    decoder_multiply_adds: int | None = None
    """For one clip, all steps and beams."""
    not_counted: str = ""
    """Why its parameters and its work could not be counted; empty where they were, or were not tried."""

    @property
    def caption(self) -> Summary:
        """Time of one clip, all stages."""
        return summarise(self.seconds["caption"])

    def times_faster_than(self, other: Entrant) -> Summary:
        """How often this one captions while `other` does once, round by round."""
        pairs = zip(other.seconds["caption"], self.seconds["caption"], strict=True)
        return summarise([theirs / ours for theirs, ours in pairs])


@dataclass(frozen=True, kw_only=True)
class Contest:
    """All of a comparison's file."""

    format: Literal["edgecap-bench-comparison"]
    format_version: int
    date: str
    command: str
    machine: Machine
    versions: dict[str, str]
    threads: int
    beam: int
    tokens: int
    """Generated for every clip, forced: no end token ends a search."""
    clips: list[str]
    clip_seconds: float
    rounds: int
    """Asked for; whole ones are as many as each entrant has times."""
    entrants: list[Entrant]
    others_before: float | None
    others_during: float | None
    noisy: bool
    """Whether others took so much of the machine that the times are no result."""
    partial: bool
    """Whether the run was cut short; what is here was measured as asked."""


def write_contest(path: Path, contest: Contest) -> None:
    """Write a comparison to `path`, whole or not at all. Raises OutputError."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(contest), indent=1) + b"\n")


def read_contest(path: Path) -> Contest:
    """Read a comparison. Raises ResultError for what cannot be read, or is of another format or version."""
    return read_document(path, FORMAT, FORMAT_VERSION, Contest)


def is_contest(path: Path) -> bool:
    """Whether a file calls itself a comparison, of whatever version; False for what cannot be read."""
    try:
        head = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return False
    return isinstance(head, dict) and head.get("format") == FORMAT
