"""Boards as tables: one board for its owner, all of them in RESULTS.md and in the README."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecap_bench.boards.submission import ModelCaptions, Submission
from edgecap_bench.comparison.plot import draw as draw_comparison
from edgecap_bench.comparison.report import faults
from edgecap_bench.comparison.results import CandidateResult
from edgecap_bench.harness.machine import Machine
from edgecap_bench.harness.timing import summarise
from edgecap_bench.reports.measurement import Header, Measurement
from edgecap_bench.reports.tables import Page, Sheet, amount, markdown_table, measured_page, place, spread, threads

HEADER = (
    "Board",
    "Model",
    "Precision",
    "A clip of 10 s",
    "95 % interval",
    "Of real time",
    "A hop of 2 s in a stream",
    "Cold start",
    "Memory",
    "Board before; after",
    "Captions as on x86-64",
)
SHORT = ("Board", "Model", "A clip of 10 s", "Cold start", "Memory", "Captions as on x86-64")
"""Columns of the README's table."""
Board = Measurement[Submission]


def board_page(board: Board) -> Page:
    """One board's file for people."""
    header, submission = board.header, board.body
    captions = [(each.key, *each.captions) for each in submission.captions]
    sheets = [Sheet("", HEADER, _rows([board]))]
    if captions:
        sounds = (f"Sound {number}" for number in range(1, len(captions[0])))
        sheets.append(Sheet("Captions of the computed sounds", ("Model", *sounds), captions))
    return measured_page(
        header,
        f"{board_name(header.machine)}, {threads(submission.comparison.threads)}",
        sheets,
        notes=[f"Left out: {line}." for line in submission.comparison.left_out],
        faults=faults(header, submission.comparison),
    )


def draw(board: Board, path: Path) -> None:
    """The comparison of one board's models."""
    draw_comparison(Measurement(board.header, board.body.comparison), path)


def boards_page(boards: Sequence[Board]) -> Page:
    """All boards for RESULTS.md."""
    boards = sorted(boards, key=lambda each: (each.header.machine.board, each.header.machine.processor))
    return Page(
        title="Boards",
        sheets=[Sheet("", HEADER, _rows(boards))],
        notes=[
            "Each row is a file that `edgecap bench --submit-file FILE` wrote on that board, without PyTorch; "
            "anyone may send one. Captions are compared for four computed sounds, same graphs."
        ],
        provenance=[_origin(board.header) for board in boards],
    )


def readme_table(boards: Sequence[Board]) -> str:
    """The README's table, in Markdown."""
    columns = [HEADER.index(title) for title in SHORT]
    return markdown_table(SHORT, [tuple(row[column] for column in columns) for row in _rows(boards)])


def board_name(machine: Machine) -> str:
    """What a board is called: by its processor where it has no name."""
    return machine.board or machine.processor


def _rows(boards: Sequence[Board]) -> list[tuple[str, ...]]:
    return [_row(board, candidate, boards) for board in boards for candidate in board.body.measured]


def _row(board: Board, candidate: CandidateResult, boards: Sequence[Board]) -> tuple[str, ...]:
    comparison, figures = board.body.comparison, board.body.figures
    caption = candidate.caption
    cold_start = ""
    if figures and figures.subject.sha256 == candidate.graphs:
        medians = {figure.name: figure.summary.median for figure in figures.figures}
        cold_start = amount(medians["cold start"], "s") if "cold start" in medians else ""
    return (
        board_name(board.header.machine),
        candidate.key,
        f"{candidate.runtime} {candidate.precision}",
        amount(caption.median, "s"),
        spread(caption.low, caption.high, "s"),
        f"{caption.median / comparison.clip_seconds:.2%}",
        amount(summarise(candidate.hops).median, "s") if candidate.hops else "",
        cold_start,
        amount(candidate.peak_bytes, "B"),
        f"{comparison.before}; {comparison.after}",
        _equal_captions(board, candidate, boards),
    )


def _equal_captions(board: Board, candidate: CandidateResult, boards: Sequence[Board]) -> str:
    """How many captions equal those of the same graphs on an x86-64 machine, if one is among the files."""

    def captions(of: Board) -> ModelCaptions | None:
        return next((each for each in of.body.captions if each.graphs == candidate.graphs), None)

    others = [each for each in boards if each.header.machine.architecture == "x86_64"]
    reference = next(filter(None, map(captions, others)), None)
    ours = captions(board)
    if ours is None or reference is None:
        return "nothing to compare"
    equal = sum(a == b for a, b in zip(ours.captions, reference.captions, strict=True))
    return f"{equal} of {len(ours.captions)}"


def _origin(header: Header) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in header.versions.items() if number != "not installed")
    return f"{header.date}, `{header.command}`, {place(header.machine)}, {versions}"
