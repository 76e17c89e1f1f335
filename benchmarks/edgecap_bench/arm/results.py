"""Results of the Arm lab: tests passed, captions compared, times as ratios."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from edgecap_bench.arm.captions import BundleRun, ClipCaption

EXACT = ("fp32",)
"""Precisions whose captions must be the same on every processor; of the others differences are counted."""


@dataclass(frozen=True, kw_only=True)
class TestRun:
    """edgecap's own runtime tests on one processor."""

    __test__ = False  # not one of pytest's
    files: list[str]
    passed: int
    failed: list[str]
    """Names of tests that failed, or could not begin."""
    skipped: int
    seconds: float
    """Emulated: it only says how long the lab takes."""


@dataclass(frozen=True, kw_only=True)
class BoardRun:
    """All that ran on one emulated processor."""

    board: str
    processor: str
    tests: TestRun | None
    bundles: list[BundleRun]


@dataclass(frozen=True, kw_only=True)
class CaptionComparison:
    """One bundle on one emulated processor against the same bundle here."""

    bundle: str
    runtime: str
    precision: str
    clips: int
    different: list[tuple[str, str, str]]
    """Clip, caption here, caption there, where they differ."""
    largest_score_change: float
    """Largest change of a caption's mean log-probability, over the clips whose captions agree; 0 without any."""
    fault: str
    """Why it did not run; empty where it did."""

    @property
    def kept(self) -> bool:
        """Whether it ran, and exactly as here where its precision promises that."""
        return not self.fault and not (self.precision in EXACT and self.different)


@dataclass(frozen=True, kw_only=True)
class ArmLab:
    """All that ran on the emulated boards, and the same on this machine."""

    FORMAT: ClassVar[str] = "edgecap-arm-lab"
    VERSION: ClassVar[int] = 1

    debian: dict[str, str]
    """Debian package for arm64 → version."""
    qemu: str
    here: list[BundleRun]
    """The same bundles and clips on this machine."""
    boards: list[BoardRun]

    def comparisons(self, board: BoardRun) -> list[CaptionComparison]:
        """Each bundle of a board against this machine, in the order of the bundles."""
        here = {run.bundle: run for run in self.here}
        return [compare(here[run.bundle], run) for run in board.bundles if run.bundle in here]

    def faults(self) -> Iterator[str]:
        """What failed, a sentence each."""
        for board in self.boards:
            for name in board.tests.failed if board.tests else []:
                yield f"{board.board}: the test {name} failed"
            for comparison in self.comparisons(board):
                if comparison.fault:
                    yield f"{board.board}: {comparison.bundle} did not run: {comparison.fault}"
                elif not comparison.kept:
                    clip, ours, theirs = comparison.different[0]
                    yield (
                        f"{board.board}: {comparison.bundle} ({comparison.runtime} {comparison.precision}) captions "
                        f"{clip} as {theirs!r} and this machine as {ours!r}"
                    )


def compare(here: BundleRun, there: BundleRun) -> CaptionComparison:
    """One bundle on two machines, clip by clip: equal are captions of the same tokens."""
    pairs = list(zip(here.captions, there.captions, strict=False))
    fault = here.fault or there.fault
    if not fault and [caption.clip for caption in there.captions] != [caption.clip for caption in here.captions]:
        fault = "it captioned other clips"
    changes = [abs(ours.score - theirs.score) for ours, theirs in pairs if _same(ours, theirs)]
    return CaptionComparison(
        bundle=there.bundle,
        runtime=here.runtime,
        precision=here.precision,
        clips=len(pairs),
        different=[(ours.clip, ours.text, theirs.text) for ours, theirs in pairs if not _same(ours, theirs)],
        largest_score_change=max(changes, default=0.0),
        fault=fault,
    )


def _same(ours: ClipCaption, theirs: ClipCaption) -> bool:
    return ours.tokens == theirs.tokens and ours.text == theirs.text
