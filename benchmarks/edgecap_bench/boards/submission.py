"""What the owner of a board sends in: every model that is installed, measured on that board, in one file.

It holds the comparison of the models in turns, the figures of the default model, and the captions of four computed
sounds, which show whether the board captions as other machines do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from edgecap.captioner import Captioner
from edgecap.util.progress import Progress
from edgecap_bench.comparison.results import CandidateResult, Comparison
from edgecap_bench.figures.results import Figures
from edgecap_bench.harness.clips import made_clips


@dataclass(frozen=True, kw_only=True)
class ModelCaptions:
    """One model's captions of the computed sounds."""

    key: str
    graphs: dict[str, str]
    """SHA-256 of its programs by role."""
    captions: list[str]


@dataclass(frozen=True, kw_only=True)
class Submission:
    """All models of one board."""

    FORMAT: ClassVar[str] = "edgecap-bench-submission"
    VERSION: ClassVar[int] = 2

    comparison: Comparison
    figures: Figures | None
    """Of the default model; None where the run was cut short before."""
    captions: list[ModelCaptions] = field(default_factory=list)

    @property
    def measured(self) -> list[CandidateResult]:
        """The candidates that were measured on the board."""
        return self.comparison.measured()


def caption_made_clips(models: Sequence[tuple[str, Path, dict[str, str]]], progress: Progress) -> list[ModelCaptions]:
    """Captions of the computed sounds by each model: its key, its folder, and the SHA-256 of its programs."""
    captions = []
    for number, (key, folder, graphs) in enumerate(models):
        progress(number, len(models), "captions")
        captioner = Captioner.load(folder, threads=1)
        rate = captioner.manifest.front_end.sample_rate
        sounds = made_clips(rate, round(captioner.window * rate))
        texts = [captioner.caption(sound.samples, rate).text for sound in sounds]
        captions.append(ModelCaptions(key=key, graphs=graphs, captions=texts))
    return captions
