"""A comparison as tables: for a terminal, as Markdown and as one HTML page without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from edgecap_bench.contest_results import STAGES, Contest, Entrant
from edgecap_bench.report import amount, place
from edgecap_bench.results import ResultError
from edgecap_bench.timing import Summary, summarise

BASELINES = ("teacher", "teacher-onnx", "reference")
TIMES_FASTER = {
    ("teacher", "fp32"): 40.0, ("teacher", "int8"): 80.0,
    ("teacher-onnx", "fp32"): 19.0, ("teacher-onnx", "int8"): 35.0,
    ("reference", "fp32"): 4.0, ("reference", "int8"): 8.0,
}  # fmt: skip
"""At least so often as fast as a baseline, by the bundle's precision; one thread."""
MOST_PARAMETERS, MOST_BYTES_INT8 = 0.068, 0.02
"""At most this share of the teacher's parameters, and in int8 of its bytes."""
TEACHER_PARAMETERS = 171_336_151
"""As published, which counts an AudioSet head and fixed matrices that captioning does not need (2 % of them)."""
WIDEST = 0.1
"""A ratio whose 95 % interval reaches further than this part of it to either side is too loose."""
STYLE = ("body{font:15px sans-serif;margin:2em auto;max-width:75em;padding:0 1em}table{border-collapse:collapse;"
         "margin:1em 0}td,th{border:1px solid #bbb;padding:.3em .6em;text-align:left}th{background:#eee}"
         ".no{color:#a00;font-weight:bold}")


@dataclass(frozen=True)
class Sheet:
    """One table."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


def title(contest: Contest) -> str:
    """What was compared, in a line, what is wrong with it first."""
    threads = "one thread" if contest.threads == 1 else f"{contest.threads} threads"
    done = len(contest.entrants[0].seconds["caption"])
    words = (f"{len(contest.entrants)} contestants, {done} rounds, {threads}, beam {contest.beam}, "
             f"{contest.tokens} tokens")
    faults = ["NO RESULT, the machine was busy"] * contest.noisy
    faults += [f"PARTIAL, {done} of {contest.rounds} rounds"] * contest.partial
    return ": ".join([*faults, words])


def notes(contest: Contest) -> list[str]:
    """What a reader must know to judge the tables."""
    several = f"{contest.clip_seconds:g} s clips ({', '.join(contest.clips)})"
    drawn = [entrant.key for entrant in contest.entrants if entrant.random_weights]
    found = [f"All caption the same {several} in turns, {contest.beam} beams and exactly {contest.tokens} generated "
             "tokens each: no end token ends a search.",
             "A turn runs its clip twice and times the second run: nobody pays for caches that another emptied."]
    if drawn:
        found.append(f"Random weights: {', '.join(drawn)}. Speed, work and size do not depend on the weights' values.")
    found += [f"{each.key}: {each.not_counted}." for each in contest.entrants if each.not_counted]
    if any(entrant.kind == "teacher-onnx" for entrant in contest.entrants):
        found.append("The teacher at its best gives other captions than the published one: its encoder sees 32 "
                     "positions instead of 1,024. It is the least that this teacher can cost.")
    return found


def sheets(contest: Contest) -> list[Sheet]:
    """Size and work, times, ratios."""
    found = [_sizes(contest), _times(contest)]
    baselines = [entrant for entrant in contest.entrants if entrant.kind in BASELINES]
    ratios = [_ratio(baseline, entrant) for baseline in baselines for entrant in contest.entrants
              if entrant.kind == "bundle"]  # fmt: skip
    if ratios:
        header = ("Contestant", "Times as fast as", "Median", "95 % interval", "Interval", "Wanted", "Kept")
        found.append(Sheet("Ratios, round by round", header, ratios))
    shares = [row for entrant in contest.entrants for row in _shares(baselines, entrant)]
    if shares:
        columns = ("Contestant", "Of the teacher's", "Share", "Wanted", "Kept")
        found.append(Sheet("Shares of the teacher", columns, shares))
    return found


def markdown(contest: Contest, level: int = 1) -> str:
    """The comparison as Markdown; `level` is that of its heading."""
    lines = [f"{'#' * level} {title(contest)}", "", *(f"- {note}" for note in notes(contest))]
    for sheet in sheets(contest):
        table = [sheet.header, ("---",) * len(sheet.header), *sheet.rows]
        lines += ["", f"{'#' * (level + 1)} {sheet.title}", "", *(f"| {' | '.join(row)} |" for row in table)]
    return "\n".join([*lines, "", *_provenance(contest)]) + "\n"


def contests_section(contests: Sequence[Contest]) -> str:
    """Comparisons as sections of a page. Raises ResultError for one of a busy machine and for a partial one."""
    sections = []
    for contest in sorted(contests, key=lambda contest: contest.date):
        if contest.noisy or contest.partial:
            what = "measured on a busy machine" if contest.noisy else "cut short"
            raise ResultError(f"the comparison of {contest.date} was {what} and is no result; measure again")
        sections.append("\n" + markdown(contest, level=2))
    return "".join(sections)


def html(contest: Contest) -> str:
    """The comparison as one page."""
    parts = ["<!doctype html><meta charset=utf-8>", f"<title>edgecap bench</title><style>{STYLE}</style>"]
    mark = " class=no" if contest.noisy or contest.partial else ""
    parts += [f"<h1{mark}>{escape(title(contest))}</h1><ul>", *(f"<li>{escape(note)}" for note in notes(contest))]
    parts.append("</ul>")
    for sheet in sheets(contest):
        parts += [f"<h2>{escape(sheet.title)}</h2><table>", _html_row("th", sheet.header)]
        parts += [*(_html_row("td", row) for row in sheet.rows), "</table>"]
    parts += ["<ul>", *(f"<li>{escape(line.removeprefix('- '))}" for line in _provenance(contest)), "</ul>"]
    return "\n".join(parts) + "\n"


def _sizes(contest: Contest) -> Sheet:
    header = ("Contestant", "What it is", "Parameters", "Multiply-adds, encoder", "decoder", "Files", "Load",
              "Peak memory")
    rows: list[tuple[str, ...]] = [(
        entrant.key, entrant.label, _count(entrant.parameters), _count(entrant.encoder_multiply_adds),
        _count(entrant.decoder_multiply_adds), amount(entrant.size_bytes, "B"), amount(entrant.load_seconds, "s"),
        amount(entrant.peak_bytes, "B"),
    ) for entrant in contest.entrants]  # fmt: skip
    return Sheet("Size and work for a clip", header, rows)


def _times(contest: Contest) -> Sheet:
    header = ("Contestant", "Front end", "Encoder", "Decoder", "Whole", "95 % interval", "p95", "Of real time")
    rows = []
    for entrant in contest.entrants:
        stages = [amount(summarise(entrant.seconds[stage]).median, "s") for stage in STAGES[:3]]
        whole = entrant.caption
        interval = f"{amount(whole.low, 's')} to {amount(whole.high, 's')}"
        rows.append((entrant.key, *stages, amount(whole.median, "s"), interval, amount(whole.p95, "s"),
                     f"{whole.median / contest.clip_seconds:.2%}"))
    return Sheet("Time for a clip", header, rows)


def _ratio(baseline: Entrant, entrant: Entrant) -> tuple[str, ...]:
    ratio = entrant.times_faster_than(baseline)
    wanted = TIMES_FASTER.get((baseline.kind, entrant.precision))
    kept = "" if wanted is None else "yes" if ratio.median >= wanted else "NO"
    return (entrant.key, baseline.key, f"{ratio.median:.1f}", f"{ratio.low:.1f} to {ratio.high:.1f}",
            "too wide" if too_wide(ratio) else "within 10 %", "" if wanted is None else f"at least {wanted:g}", kept)


def too_wide(ratio: Summary) -> bool:
    """Whether the interval of a ratio reaches further than `WIDEST` of it to either side."""
    return max(ratio.high - ratio.median, ratio.median - ratio.low) > WIDEST * ratio.median


def _shares(baselines: Sequence[Entrant], entrant: Entrant) -> list[tuple[str, ...]]:
    teacher = next((baseline for baseline in baselines if baseline.kind == "teacher"), None)
    if teacher is None or entrant.kind != "bundle":
        return []
    most_bytes = MOST_BYTES_INT8 if entrant.precision == "int8" else None
    rows: list[tuple[str, float, float | None]] = [("bytes", entrant.size_bytes / teacher.size_bytes, most_bytes)]
    if entrant.parameters:
        rows.append(("parameters, as published", entrant.parameters / TEACHER_PARAMETERS, MOST_PARAMETERS))
    return [(entrant.key, what, f"{share:.2%}", "" if most is None else f"at most {most:.1%}",
             "" if most is None else "yes" if share <= most else "NO") for what, share, most in rows]


def _provenance(contest: Contest) -> list[str]:
    used = ", ".join(f"{name} {number}" for name, number in contest.versions.items())
    return [f"- {contest.date}, `{contest.command}`", f"- {place(contest.machine)}", f"- {used}"]


def _count(number: int | None) -> str:
    """A large number with three digits."""
    if number is None:
        return "not counted"
    factor, name = next(((f, n) for f, n in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if number >= f), (1.0, ""))
    return f"{number / factor:.3g}{name}" if number < 1000 * factor else f"{number / factor:.0f}{name}"


def _html_row(cell: str, row: Sequence[str]) -> str:
    cells = (f"<{cell}{' class=no' if text in ('NO', 'too wide') else ''}>{escape(text)}</{cell}>" for text in row)
    return f"<tr>{''.join(cells)}</tr>"
