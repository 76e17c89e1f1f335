"""The parts of a caption's time: what each is, and the least that its arithmetic takes on this processor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from edgecap_bench.figures.results import Settings, Subject

Stage = Literal["front end", "encoder", "decoder", "Python between"]
Arithmetic = Literal["float32", "int8"]
STAGES: tuple[Stage, ...] = ("front end", "encoder", "decoder", "Python between")
EXPLANATIONS: dict[Stage, str] = {
    "front end": "samples to log-mel",
    "encoder": "log-mel to cross-attention keys and values",
    "decoder": "beam search with all its decoder steps",
    "Python between": "checks, level, text, and all else that is in none of the three",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a caption."""

    stage: Stage
    name: str
    """Kind of layer, or what else takes the time; empty for a stage that is not divided."""
    seconds: float
    """For one caption."""
    runs: int = 0
    """Nodes of a graph that run for one caption; 0 for what is not in a graph."""
    multiply_adds: int = 0
    """For one caption; 0 where none are counted."""
    arithmetic: Arithmetic = "float32"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The parts of one caption of one model, and what the processor can do."""

    FORMAT: ClassVar[str] = "edgecap-bench-profile"
    VERSION: ClassVar[int] = 1

    subject: Subject
    settings: Settings
    caption: list[float]
    """Seconds of a whole caption in each round."""
    stages: dict[str, list[float]]
    """Seconds of front end, encoder and decoder in each round."""
    parts: list[Part]
    """In the order of the stages, within each the longest first."""
    peak: dict[str, float]
    """Multiply-adds a second of large products of matrices with these threads, by kind of arithmetic."""

    def stage_seconds(self, stage: Stage) -> float:
        """Of all parts of a stage."""
        return sum(part.seconds for part in self.parts if part.stage == stage)

    @property
    def seconds(self) -> float:
        """Of all parts: the median of a whole caption, or the medians of its stages where they are more."""
        return sum(part.seconds for part in self.parts)

    def least(self, part: Part) -> float | None:
        """Seconds that the part's multiply-adds take at the processor's peak; None where none are counted."""
        return part.multiply_adds / self.peak[part.arithmetic] if part.multiply_adds else None

    def stage_least(self, stage: Stage) -> float | None:
        """The same of a stage."""
        each = [self.least(part) for part in self.parts if part.stage == stage]
        return sum(filter(None, each)) if any(each) else None
