"""A comparison: what several contestants took on the same clips, taking turns, as one JSON file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from edgecap.util.files import write_atomically
from edgecap_bench.candidates.runners import Kind
from edgecap_bench.harness.board_state import Condition
from edgecap_bench.harness.machine import Machine
from edgecap_bench.harness.timing import Summary, summarise
from edgecap_bench.reports.results import read_document

FORMAT: Literal["edgecap-bench-comparison"] = "edgecap-bench-comparison"
FORMAT_VERSION = 1
STAGES = ("front end", "encoder", "decoder", "caption")
HOP_SECONDS = 2.0
"""What `edgecap listen` walks a stream by where nothing else is asked for."""


@dataclass(frozen=True, kw_only=True)
class Burst:
    """Captions one after the other, nobody else at work."""

    threads: int
    captions: int
    seconds: float
    processor_seconds: float
    joules: float | None = None
    """Counted by the machine, idle power included; None where it counts none."""


@dataclass(frozen=True, kw_only=True)
class OperatorTime:
    """One kind of operator in one graph."""

    graph: str
    operator: str
    seconds: float
    """For one clip."""
    count: int
    """Nodes run for one clip."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Another machine and another day."""

    date: str
    command: str
    machine: Machine
    versions: dict[str, str]


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
    runtime: str = ""
    """What computes it, for people."""
    graphs: dict[str, str] = field(default_factory=dict)
    """SHA-256 of a bundle's graphs by role, which tells whether two results are of the same one."""
    processor_seconds: list[float] = field(default_factory=list)
    """Processor time of its process, all threads, for each round's caption."""
    hops: list[float] = field(default_factory=list)
    """Seconds that a hop of `HOP_SECONDS` takes in a stream: its new frames, encoder, decoder. Bundles only: the others
    would caption a whole clip each hop."""
    bursts: list[Burst] = field(default_factory=list)
    """Captions one after the other, with one and with all threads."""
    profile: list[OperatorTime] = field(default_factory=list)
    """Where ONNX Runtime spends a clip's time, greatest first; empty for what it does not run."""
    recorded: Recorded | None = None
    """Where and when it was measured, if not in this run."""

    @property
    def caption(self) -> Summary:
        """Time of one clip, all stages."""
        return summarise(self.seconds["caption"])

    def times_faster_than(self, other: Entrant) -> Summary:
        """How often this one captions while `other` does once, round by round."""
        pairs = zip(other.seconds["caption"], self.seconds["caption"], strict=True)
        return summarise([theirs / ours for theirs, ours in pairs])

    @property
    def multiply_adds(self) -> int | None:
        """For one clip, both parts; None where they were not counted."""
        if self.encoder_multiply_adds is None or self.decoder_multiply_adds is None:
            return None
        return self.encoder_multiply_adds + self.decoder_multiply_adds


@dataclass(frozen=True, kw_only=True)
class Comparison:
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
    before: Condition | None = None
    """The board before the first round."""
    after: Condition | None = None
    """The board after the last burst."""
    energy: str = ""
    """What counted the energy; empty where the machine counts none."""
    left_out: list[str] = field(default_factory=list)
    """Who could not take part, and why."""
    took_seconds: float | None = None
    """The whole comparison: stand-ins, loading, rounds, counting. Without exporting bundles, which are kept."""


def write_comparison(path: Path, contest: Comparison) -> None:
    """Write a comparison to `path`, whole or not at all. Raises OutputError."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(contest), indent=1) + b"\n")


def read_comparison(path: Path) -> Comparison:
    """Read a comparison. Raises ResultError for what cannot be read, or is of another format or version."""
    return read_document(path, FORMAT, FORMAT_VERSION, Comparison)


def is_contest(path: Path) -> bool:
    """Whether a file calls itself a comparison, of whatever version; False for what cannot be read."""
    try:
        head = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return False
    return isinstance(head, dict) and head.get("format") == FORMAT
