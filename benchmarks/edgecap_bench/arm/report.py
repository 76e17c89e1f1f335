"""The Arm lab's result as tables."""

from __future__ import annotations

from collections.abc import Sequence

from edgecap_bench.arm.captions import BundleRun
from edgecap_bench.arm.results import EXACT, ArmLab, BoardRun, CaptionComparison
from edgecap_bench.reports.measurement import Measurement
from edgecap_bench.reports.tables import Page, Sheet, measured_page, verdict

NOTES = (
    "Emulated: a program on another processor runs the processor's instructions. They compute what a board computes, "
    "but take another time. Times appear only as ratios on one emulated processor, which do not carry over to a "
    "board.",
    "float32 must give the same captions, token for token, as this machine. For the other precisions, differences are "
    "counted and shown: where a value has 256 steps, another rounding of the last digit can be one step.",
    "What a board itself measures comes from edgecap bench --submit-file.",
)


DEBIAN_SHOWN = ("libc6", "python3.11", "libstdc++6")
"""Debian packages that matter to what is computed."""


def lab_page(measurement: Measurement[ArmLab]) -> Page:
    """The lab for people."""
    lab, machine = measurement.body, measurement.header.machine
    boards = " and ".join(f"{board.board} ({board.processor})" for board in lab.boards)
    debian = ", ".join(f"{name} {lab.debian[name]}" for name in DEBIAN_SHOWN if name in lab.debian)
    sheets = [_tests(lab), _captions(lab, machine.architecture), _differences(lab), _ratios(lab)]
    return measured_page(
        measurement.header,
        f"Arm lab: {boards}, emulated",
        [sheet for sheet in sheets if sheet.rows],
        notes=NOTES,
        provenance=[f"Debian for arm64: {debian}; emulator: QEMU {lab.qemu}"],
    )


def _tests(lab: ArmLab) -> Sheet:
    rows: list[tuple[str, ...]] = [
        (
            board.board,
            board.processor,
            str(len(board.tests.files)),
            str(board.tests.passed),
            str(len(board.tests.failed)),
            str(board.tests.skipped),
            verdict(not board.tests.failed),
        )
        for board in lab.boards
        if board.tests
    ]
    return Sheet(
        "edgecap's own tests of the runtime",
        ("Emulated board", "Processor", "Files", "Passed", "Failed", "Skipped", "Kept"),
        rows,
    )


def _captions(lab: ArmLab, architecture: str) -> Sheet:
    rows = [_caption_row(board, comparison) for board in lab.boards for comparison in lab.comparisons(board)]
    return Sheet(
        "Captions, compared with x86-64" if architecture == "x86_64" else "Captions, compared",
        (
            "Emulated board",
            "Bundle",
            "Runtime",
            "Precision",
            "Clips",
            "Other captions",
            "Wanted",
            "Largest change of a score",
            "Kept",
        ),
        rows,
    )


def _caption_row(board: BoardRun, comparison: CaptionComparison) -> tuple[str, ...]:
    exact = comparison.precision in EXACT
    return (
        board.board,
        comparison.bundle,
        comparison.runtime,
        comparison.precision,
        str(comparison.clips),
        comparison.fault or str(len(comparison.different)),
        "0" if exact else "counted",
        f"{comparison.largest_score_change:.1e}",
        verdict(comparison.kept if exact or not comparison.kept else None),
    )


def _differences(lab: ArmLab) -> Sheet:
    rows: list[tuple[str, ...]] = [
        (board.board, comparison.bundle, clip, ours, theirs)
        for board in lab.boards
        for comparison in lab.comparisons(board)
        for clip, ours, theirs in comparison.different
    ]
    return Sheet("Captions that differ", ("Emulated board", "Bundle", "Clip", "This machine", "Emulated"), rows)


def _ratios(lab: ArmLab) -> Sheet:
    """Time of all clips with the first float32 bundle, over that with each: on each processor for itself."""
    places = [
        ("This machine (not emulated)", lab.here),
        *((f"{board.board}, emulated", board.bundles) for board in lab.boards),
    ]
    base = next((run.bundle for run in lab.here if run.precision == "fp32"), None)
    rows = [
        (run.bundle, *(_ratio(runs, base, run.bundle) for _, runs in places)) for run in lab.here if base is not None
    ]
    return Sheet(
        f"Times as fast as {base} on the same processor (says nothing about a board)",
        ("Bundle", *(name for name, _ in places)),
        rows,
    )


def _ratio(runs: Sequence[BundleRun], base: str | None, bundle: str) -> str:
    seconds = {run.bundle: run.seconds for run in runs if not run.fault and run.captions}
    return f"{seconds[base] / seconds[bundle]:.2f}" if base in seconds and bundle in seconds else "did not run"
