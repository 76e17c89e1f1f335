"""What takes part in a comparison: a candidate, and its three stages once it is loaded.

Every runner generates exactly as many tokens as requested, with the same number of beams: no end token ends a
search. Each is loaded in a separate process (`edgecap_bench.candidates.serve`) and imports only what it needs. A new
kind of candidate is a module with a runner, and an entry of `RUNNERS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal, Protocol

from edgecap.types import Waveform

if TYPE_CHECKING:
    from edgecap_bench.counting.profile import OperatorTime

NO_TOKEN = -1
"""Given as the end token, it ends no search."""
HOP_SECONDS = 2.0
"""Hop of `edgecap listen` where none is given."""
Kind = Literal["teacher", "teacher-onnx", "reference", "bundle"]
RUNNERS: dict[Kind, str] = {
    "teacher": "edgecap_bench.candidates.torch_runners:open_teacher",
    "teacher-onnx": "edgecap_bench.candidates.teacher_graphs_runner:TeacherGraphsRunner",
    "reference": "edgecap_bench.candidates.torch_runners:open_reference",
    "bundle": "edgecap_bench.candidates.bundle_runner:BundleRunner",
}
"""Kind of candidate → what makes its runner of a path and a number of threads, "module:name"."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What may be compared."""

    key: str
    """Short name, unique in a comparison."""
    kind: Kind
    path: str
    """Its checkpoint, its folder of graphs, or its bundle."""
    random_weights: bool = False
    """Whether its weights were drawn for this run."""
    optional: bool = False
    """Whether the comparison goes on without it where it does not load."""


@dataclass(frozen=True)
class Size:
    """The counted cost of a candidate."""

    parameters: int
    encoder_multiply_adds: int
    """For one clip."""
    decoder_multiply_adds: int
    """For one clip: all its steps and all its beams."""


class Runner(Protocol):
    """A loaded candidate."""

    rate: int
    """Of the samples it takes, in hertz."""
    length: int
    """Samples of a clip."""

    def front_end(self, samples: Waveform) -> Any:  # noqa: ANN401 - each its own
        """Samples (length,) to features."""
        ...

    def encode(self, features: Any) -> Any:  # noqa: ANN401
        """Features to what the decoder needs."""
        ...

    def decode(self, encoded: Any, beam: int, tokens: int) -> None:  # noqa: ANN401
        """Beam search of exactly `tokens` tokens."""
        ...

    def size(self, beam: int, tokens: int) -> Size:
        """Parameters and multiply-adds; may take a while and much memory. Raises EdgecapError where they cannot be
        counted.
        """
        ...

    def profile(self, beam: int, tokens: int, threads: int) -> list[OperatorTime]:
        """Where ONNX Runtime spends a clip's time; empty for another runtime."""
        ...


def open_runner(candidate: Candidate, threads: int) -> Runner:
    """Load a candidate on so many threads. Raises EdgecapError for one that cannot be loaded."""
    runner: Runner = resolve_name(RUNNERS[candidate.kind])(Path(candidate.path), threads)
    return runner
