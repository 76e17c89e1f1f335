"""The figures of one model: what each is, what is wanted, and every value that was taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgecap.bundle.bundle import Bundle
from edgecap_bench.candidates.variants import digests
from edgecap_bench.harness.timing import Summary, summarise
from edgecap_bench.reports.tables import Unit

TARGETS = {
    "front end": 0.006,
    "caption": 0.045,
    "import edgecap": 0.35,
    "cold start": 2.0,
    "peak memory": 250e6,
    "long file, growth": 4e6,
}
"""At most so many seconds or bytes, for 10 s of sound, one thread of a 2020s x86-64 server, fp32. Of the last,
4 MB is what allocators are allowed for noise: the samples of an hour alone would be 230 MB."""
EXPLANATIONS = {
    "front end": "10 s of samples to log-mel",
    "encoder": "log-mel to cross-attention keys and values",
    "decoder": "beam search with all its decoder steps",
    "decoder step": "the same for each step",
    "caption": "samples to text, all of the above",
    "import edgecap": "`import edgecap` in a new interpreter",
    "import the captioner": "`import edgecap.captioner` in a new interpreter, NumPy included",
    "cold start": "`edgecap caption` of a 10 s file, from the start of the process to its end",
    "peak memory": "resident memory of that process at its highest",
    "long file": "`Captioner.caption_file` over the long file, from the loaded model on",
    "long file, peak": "resident memory at its highest",
    "long file, growth": "resident memory over the last tenth of it, less that over its second tenth",
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure."""

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


def figure(name: str, unit: Unit, sample: list[float]) -> Figure:
    """A figure with its target."""
    return Figure(name=name, unit=unit, sample=sample, target=TARGETS.get(name))


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The model that was measured."""

    name: str
    runtime: str
    precision: str
    size_bytes: int
    sha256: dict[str, str]
    """Of the graphs, by role."""

    @classmethod
    def of(cls, bundle: Bundle) -> Subject:
        """A bundle as a result names it."""
        manifest = bundle.manifest
        return cls(
            name=manifest.name,
            runtime=manifest.runtime,
            precision=manifest.precision,
            size_bytes=bundle.loaded_size,
            sha256=digests(manifest),
        )


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
class Figures:
    """The figures of one model."""

    FORMAT: ClassVar[str] = "edgecap-bench"
    VERSION: ClassVar[int] = 1

    subject: Subject
    settings: Settings
    figures: list[Figure]
