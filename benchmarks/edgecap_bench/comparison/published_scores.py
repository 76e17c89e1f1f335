"""Published systems, as their authors report them: points for comparison that nobody here has measured.

Their scores are of whole test sets that edgecap does not have, with other document frequencies, so they say where a
system stands roughly, and never which of two close ones is better.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgecap_bench.comparison.targets import TEACHER_PARAMETERS


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """One system."""

    name: str
    parameters: int
    cider_d: float | None
    """On AudioCaps' test set, 0 to 10; None where the source gives none that can be cited."""
    kind: str
    """The contestant whose time is its time; empty for none."""
    source: str


SYSTEMS = (
    PublishedScore(
        name="HTSAT-BART (teacher)",
        parameters=TEACHER_PARAMETERS,
        cider_d=0.787,
        kind="teacher",
        source="WavCaps, Mei et al. 2023, arXiv 2303.17395: AudioCaps CIDEr 78.7, SPIDEr 48.5",
    ),
    PublishedScore(
        name="effb2-trm (published student)",
        parameters=11_469_250,
        cider_d=None,
        kind="reference",
        source='Xu et al. 2024, arXiv 2407.14329: "competitive" with its teacher, 19 times its speed',
    ),
)
