"""The Arm lab's result as tables, and as its section of RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecap.errors import ResultError
from edgecap_bench.arm.captions import BundleRun
from edgecap_bench.arm.results import EXACT, ArmLab, BoardRun, CaptionComparison, read_lab
from edgecap_bench.reports.registry import Part
from edgecap_bench.reports.tables import Page, Sheet, markdown, origin

NOTES = (
    "Emulated: the processor's own instructions are run by a program on another processor. What they compute is what "
    "a board computes; how long they take is not. Times appear only as ratios on one emulated processor, and say "
    "nothing about a board's ratios either.",
    "float32 must give the same captions, token for token, as this machine. Of the other precisions, differences are "
    "counted and shown: where a map has 256 steps, a last digit that another processor rounds otherwise can be a step.",
    "A board's results of its own come from edgecap bench --submit-file.",
)


def lab_page(lab: ArmLab) -> Page:
    """The lab for people."""
    sheets = [sheet for sheet in (_tests(lab), _captions(lab), _differences(lab), _ratios(lab)) if sheet.rows]
    boards = " and ".join(f"{board.board} ({board.processor})" for board in lab.boards)
    title = f"Arm lab: {boards}, emulated"
    return Page(
        title=f"PARTIAL: {title}" if lab.partial else title,
        notes=list(NOTES),
        sheets=sheets,
        fault=lab.partial,
        provenance=[
            *origin(lab.date, lab.command, lab.machine, lab.versions),
            f"Debian for arm64: {', '.join(f'{name} {lab.debian[name]}' for name in _told(lab))}; emulator: "
            f"QEMU {lab.qemu}",
        ],
    )


def section(paths: Sequence[Path]) -> Part:
    """The section of all results of the lab. Raises ResultError for one that was cut short."""
    texts = []
    for path in paths:
        lab = read_lab(path)
        if lab.partial:
            raise ResultError(f"{path} was cut short and is no result; run benchmarks/arm/lab.py again")
        texts.append(markdown(lab_page(lab), 2))
    return Part("\n".join(texts))


def _told(lab: ArmLab) -> list[str]:
    """The Debian packages that matter to what was computed."""
    return [name for name in ("libc6", "python3.11", "libstdc++6") if name in lab.debian]


def _tests(lab: ArmLab) -> Sheet:
    rows: list[tuple[str, ...]] = [
        (
            board.board,
            board.processor,
            str(len(board.tests.files)),
            str(board.tests.passed),
            str(len(board.tests.failed)),
            str(board.tests.skipped),
            "NO" if board.tests.failed else "yes",
        )
        for board in lab.boards
        if board.tests
    ]
    return Sheet(
        "edgecap's own tests of the runtime",
        ("Emulated board", "Processor", "Files", "Passed", "Failed", "Skipped", "Kept"),
        rows,
    )


def _captions(lab: ArmLab) -> Sheet:
    rows = [_caption_row(board, comparison) for board in lab.boards for comparison in lab.comparisons(board)]
    return Sheet(
        "Captions, compared with x86-64" if lab.machine.architecture == "x86_64" else "Captions, compared",
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


def _caption_row(board: BoardRun, found: CaptionComparison) -> tuple[str, ...]:
    exact = found.precision in EXACT
    return (
        board.board,
        found.bundle,
        found.runtime,
        found.precision,
        str(found.clips),
        found.fault or str(len(found.different)),
        "0" if exact else "counted",
        f"{found.largest_score_change:.1e}",
        "NO" if not found.kept else "yes" if exact else "",
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
        f"Times as fast as {base} on the same processor (emulated ones: no statement about a board)",
        ("Bundle", *(name for name, _ in places)),
        rows,
    )


def _ratio(runs: Sequence[BundleRun], base: str | None, bundle: str) -> str:
    seconds = {run.bundle: run.seconds for run in runs if not run.fault and run.captions}
    return f"{seconds[base] / seconds[bundle]:.2f}" if base in seconds and bundle in seconds else "did not run"
