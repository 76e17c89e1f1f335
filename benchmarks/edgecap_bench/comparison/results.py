"""What a comparison measured: each candidate's times on the same clips, its size, its counted cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from edgecap_bench.candidates.runner import Kind
from edgecap_bench.counting.profile import OperatorTime
from edgecap_bench.harness.board_state import BoardState
from edgecap_bench.harness.machine import Machine
from edgecap_bench.harness.timing import Summary, summarise

STAGES = ("front end", "encoder", "decoder", "caption")
"""The three stages, and all of them together."""


@dataclass(frozen=True, kw_only=True)
class Burst:
    """Captions one after the other, while no other candidate runs."""

    threads: int
    captions: int
    seconds: float
    processor_seconds: float
    joules: float | None = None
    """Counted by the machine, idle power included; None where it counts none."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Another machine and another day."""

    date: str
    command: str
    machine: Machine
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class CandidateResult:
    """What one candidate is, and what it took."""

    key: str
    kind: Kind
    label: str
    """What it is, in words."""
    precision: str
    random_weights: bool
    """Whether its weights were drawn for this run; speed does not depend on them."""
    size_bytes: int
    """Of the files that it loads."""
    load_seconds: float
    """From the start of its process to a model that could caption: interpreter, imports, weights."""
    peak_bytes: int
    """Resident memory of its process at its highest."""
    seconds: dict[str, list[float]]
    """Of each stage (`STAGES`) in each whole round."""
    parameters: int | None = None
    """None where a run was cut short before they were counted, or where they cannot be."""
    encoder_multiply_adds: int | None = None
    """For one clip."""
    decoder_multiply_adds: int | None = None
    """For one clip, all steps and beams."""
    not_counted: str = ""
    """Why its parameters and multiply-adds could not be counted; empty where they were, or were not tried."""
    runtime: str = ""
    """A bundle's runtime; empty for a published model."""
    graphs: dict[str, str] = field(default_factory=dict)
    """SHA-256 of a bundle's graphs by role: equal where two results are of the same one."""
    processor_seconds: list[float] = field(default_factory=list)
    """Processor time of its process, all threads, for each round's caption."""
    hops: list[float] = field(default_factory=list)
    """Seconds that a hop of a stream takes: its new frames, encoder, decoder. Of bundles only: the published models
    would caption a whole clip each hop."""
    bursts: list[Burst] = field(default_factory=list)
    """With one and with all threads."""
    profile: list[OperatorTime] = field(default_factory=list)
    """Where ONNX Runtime spends a clip's time, greatest first; empty for what it does not run."""
    recorded: Recorded | None = None
    """Where and when it was measured, if not in this run."""

    @property
    def caption(self) -> Summary:
        """Time of one clip, all stages."""
        return summarise(self.seconds["caption"])

    def times_faster_than(self, other: CandidateResult) -> Summary:
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
    """Candidates on the same clips, in turns."""

    FORMAT: ClassVar[str] = "edgecap-bench-comparison"
    VERSION: ClassVar[int] = 2

    threads: int
    beam: int
    tokens: int
    """Generated for every clip, forced: no end token ends a search."""
    clips: list[str]
    clip_seconds: float
    rounds: int
    """As requested; whole ones are as many as each candidate has times."""
    candidates: list[CandidateResult]
    before: BoardState | None = None
    """The board before the first round."""
    after: BoardState | None = None
    """The board after the last burst."""
    energy: str = ""
    """What counted the energy; empty where the machine counts none."""
    left_out: list[str] = field(default_factory=list)
    """Who could not take part, and why."""
    took_seconds: float | None = None
    """The whole comparison: random weights, loading, rounds, counting. Without exporting bundles, which are kept."""

    @property
    def done_rounds(self) -> int:
        """Whole rounds that were measured."""
        return len(self.candidates[0].seconds["caption"])

    def measured(
        self, kinds: Sequence[Kind] = ("teacher", "teacher-onnx", "reference", "bundle")
    ) -> list[CandidateResult]:
        """Candidates of these kinds that were measured in this run."""
        return [each for each in self.candidates if each.kind in kinds and each.recorded is None]
