"""Boards' files as a table: the section of RESULTS.md, and the table of the README."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecap_bench.boards.submission import ModelCaptions, Submission, read_submission
from edgecap_bench.comparison.results import Entrant
from edgecap_bench.harness.timing import summarise
from edgecap_bench.reports.registry import Part, refuse_faulty
from edgecap_bench.reports.tables import Page, Sheet, amount, cores, markdown, place, spread

BEGIN, END = "<!-- boards: written by python -m edgecap_bench.report -->", "<!-- end of boards -->"
SHORT = ("Board", "Model", "A clip of 10 s", "Cold start", "Memory", "Captions as on x86-64")


def submission_page(submission: Submission) -> Page:
    """One board's file for people."""
    contest = submission.contest
    faults = ["NO RESULT, the machine was busy"] * submission.noisy + ["PARTIAL"] * submission.partial
    board = contest.machine.board or contest.machine.processor
    said = [(each.key, *each.captions) for each in submission.said]
    sheets = [_table([submission])]
    if said:
        header = ("Model", *(f"Sound {number}" for number in range(1, len(said[0]))))
        sheets.append(Sheet("What the models say of the computed sounds", header, said))
    return Page(
        title=": ".join([*faults, f"{board}, {cores(contest.threads)}"]),
        fault=bool(faults),
        notes=[*(f"Not here: {line}." for line in contest.left_out)],
        sheets=sheets,
        provenance=_origin(submission),
    )


def section(paths: Sequence[Path]) -> Part:
    """The section of all boards. Raises ResultError."""
    found = _read(paths)
    page = Page(
        title="Boards",
        fault=False,
        sheets=[_table(found)],
        notes=[
            "Each row is a file that `edgecap bench --submit-file FILE` wrote on that board, no PyTorch needed; "
            "anyone may send one. Captions are compared for four computed sounds, same graphs."
        ],
        provenance=[line for each in found for line in _origin(each)],
    )
    return Part(markdown(page, level=2))


def readme_table(paths: Sequence[Path]) -> str:
    """The README's table, in Markdown."""
    found = _read(paths)
    lines = [SHORT, ("---",) * len(SHORT)]
    for submission in found:
        for entrant in _measured(submission):
            row = _row(submission, entrant, found)
            lines.append((row[0], row[1], row[3], row[7], row[8], row[10]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_boards(readme: str, table: str) -> str:
    """A README with the table between its two marks; as it was where it has none."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    return f"{head}{begin}\n{table}\n{end}{tail}" if begin and end else readme


def _read(paths: Sequence[Path]) -> list[Submission]:
    found = []
    for path in paths:
        submission = read_submission(path)
        refuse_faulty(submission, str(path))
        found.append(submission)
    return sorted(
        found, key=lambda each: (each.contest.machine.board, each.contest.machine.processor, each.contest.date)
    )


def _table(found: Sequence[Submission]) -> Sheet:
    header = (
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
    return Sheet("", header, [_row(each, entrant, found) for each in found for entrant in _measured(each)])


def _measured(submission: Submission) -> list[Entrant]:
    return [entrant for entrant in submission.contest.entrants if entrant.recorded is None]


def _row(submission: Submission, entrant: Entrant, found: Sequence[Submission]) -> tuple[str, ...]:
    contest, figures = submission.contest, submission.figures
    whole = entrant.caption
    start = (
        next((figure.summary.median for figure in figures.figures if figure.name == "cold start"), None)
        if (figures and figures.subject.sha256 == entrant.graphs)
        else None
    )
    return (
        contest.machine.board or contest.machine.processor,
        entrant.key,
        f"{entrant.runtime} {entrant.precision}",
        amount(whole.median, "s"),
        spread(whole.low, whole.high, "s"),
        f"{whole.median / contest.clip_seconds:.2%}",
        amount(summarise(entrant.hops).median, "s") if entrant.hops else "",
        "" if start is None else amount(start, "s"),
        amount(entrant.peak_bytes, "B"),
        f"{contest.before}; {contest.after}",
        _same(submission, entrant, found),
    )


def _same(submission: Submission, entrant: Entrant, found: Sequence[Submission]) -> str:
    """How many captions equal those of the same graphs on an x86-64 machine, if one is among the files."""

    def said(of: Submission) -> ModelCaptions | None:
        return next((each for each in of.said if each.graphs == entrant.graphs), None)

    mine = said(submission)
    theirs = next(
        (match for each in found if each.contest.machine.architecture == "x86_64" and (match := said(each))), None
    )
    if mine is None or theirs is None:
        return "nothing to compare"
    equal = sum(a == b for a, b in zip(mine.captions, theirs.captions, strict=True))
    return f"{equal} of {len(mine.captions)}"


def _origin(submission: Submission) -> list[str]:
    contest = submission.contest
    used = ", ".join(f"{name} {number}" for name, number in contest.versions.items() if number != "not installed")
    return [f"{contest.date}, `{contest.command}`, {place(contest.machine)}, {used}"]
