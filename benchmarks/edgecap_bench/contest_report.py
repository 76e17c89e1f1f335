"""A comparison as tables, and as its section of RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecap_bench.contest_results import STAGES, Contest, Entrant, read_contest
from edgecap_bench.results import ResultError
from edgecap_bench.sections import Part
from edgecap_bench.tables import Page, Sheet, amount, cores, count, markdown, origin
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
def title(contest: Contest) -> str:
    """What was compared, in a line, what is wrong with it first."""
    done = len(contest.entrants[0].seconds["caption"])
    words = (f"{len(contest.entrants)} contestants, {done} rounds, {cores(contest.threads)}, beam {contest.beam}, "
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


def contest_page(contest: Contest) -> Page:
    """The comparison for people."""
    return Page(
        title=title(contest), notes=notes(contest), sheets=sheets(contest), fault=contest.noisy or contest.partial,
        provenance=origin(contest.date, contest.command, contest.machine, contest.versions),
    )  # fmt: skip


def section(paths: Sequence[Path]) -> Part:
    """The section of all comparisons. Raises ResultError for one of a busy machine and for a partial one."""
    texts = []
    for contest in sorted(map(read_contest, paths), key=lambda contest: contest.date):
        if contest.noisy or contest.partial:
            what = "measured on a busy machine" if contest.noisy else "cut short"
            raise ResultError(f"the comparison of {contest.date} was {what} and is no result; measure again")
        texts.append(markdown(contest_page(contest), level=2))
    return Part("\n".join(texts))


def _sizes(contest: Contest) -> Sheet:
    header = ("Contestant", "What it is", "Parameters", "Multiply-adds, encoder", "decoder", "Files", "Load",
              "Peak memory")
    rows: list[tuple[str, ...]] = [(
        entrant.key, entrant.label, count(entrant.parameters), count(entrant.encoder_multiply_adds),
        count(entrant.decoder_multiply_adds), amount(entrant.size_bytes, "B"), amount(entrant.load_seconds, "s"),
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
