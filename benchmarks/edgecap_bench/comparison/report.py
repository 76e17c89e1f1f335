"""A comparison as tables, and as its section of RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecap_bench.comparison.results import HOP_SECONDS, STAGES, Comparison, Entrant, read_comparison
from edgecap_bench.comparison.targets import (
    BASELINES,
    MOST_BYTES_INT8,
    MOST_PARAMETERS,
    MOST_SECONDS,
    TEACHER_PARAMETERS,
    here,
    misses,
    sureness,
    wanted,
)
from edgecap_bench.harness.timing import summarise
from edgecap_bench.reports.registry import Part, illustrated
from edgecap_bench.reports.tables import Page, Sheet, amount, cores, count, origin, place, spread

SHOWN_OPERATORS = 6


def title(contest: Comparison) -> str:
    """What was compared, in a line, what is wrong with it first."""
    done = len(contest.entrants[0].seconds["caption"])
    measured = sum(entrant.recorded is None for entrant in contest.entrants)
    words = f"{measured} contestants, {done} rounds, {cores(contest.threads)}, beam {contest.beam}, "
    words += f"{contest.tokens} tokens"
    faults = ["NO RESULT, the machine was busy"] * contest.noisy
    faults += [f"PARTIAL, {done} of {contest.rounds} rounds"] * contest.partial
    return ": ".join([*faults, words])


def notes(contest: Comparison) -> list[str]:
    """What a reader must know to judge the tables."""
    several = f"{contest.clip_seconds:g} s clips ({', '.join(contest.clips)})"
    drawn = [entrant.key for entrant in contest.entrants if entrant.random_weights]
    found = [
        f"All caption the same {several} in turns, {contest.beam} beams and exactly {contest.tokens} generated "
        "tokens each: no end token ends a search.",
        "A turn runs its clip twice and times the second run: nobody pays for caches that another emptied.",
    ]
    if drawn:
        found.append(f"Random weights: {', '.join(drawn)}. Speed, work and size do not depend on the weights' values.")
    if any(entrant.kind == "teacher-onnx" for entrant in contest.entrants):
        found.append(
            "The teacher at its best gives other captions than the published one: its encoder sees 32 "
            "positions instead of 1,024. It is the least that this teacher can cost."
        )
    if here(contest, ("tagger",)):
        found.append("The tagger says tags and no sentence; what a caption takes beyond it is the price of a sentence.")
    records = {entrant.recorded.date: entrant.recorded for entrant in contest.entrants if entrant.recorded}
    for record in records.values():
        found.append(
            f"(recorded) was measured elsewhere: {record.date}, {place(record.machine)}, PyTorch "
            f"{record.versions.get('torch', 'unknown')}. Its times are that machine's, so a ratio to them is "
            "no result; its parameters, bytes and work hold on every machine."
        )
    found += [f"{each.key}: {each.not_counted}." for each in contest.entrants if each.not_counted]
    found += [f"Not here: {line}." for line in contest.left_out]
    if contest.before is not None and contest.after is not None:
        found.append(f"The board before: {contest.before}; after: {contest.after}.")
        if contest.after.throttled or contest.before.throttled:
            found.append("The board was held back (heat or voltage), so its times are longer than they need be.")
        found.append(f"Energy counted by: {contest.energy}." if contest.energy else "This machine counts no energy.")
    if contest.took_seconds is not None:
        over = "" if contest.took_seconds <= MOST_SECONDS else f", more than the {MOST_SECONDS / 60:g} minutes wanted"
        found.append(f"The whole comparison took {contest.took_seconds / 60:.1f} minutes{over}.")
    return found


def sheets(contest: Comparison) -> list[Sheet]:
    """Size and work, times, throughput, ratios, shares, and where the time goes of what was too slow."""
    found = [_sizes(contest), _times(contest)]
    if any(entrant.bursts or entrant.hops for entrant in contest.entrants):
        found.append(_throughput(contest))
    ratios = [
        _ratio(contest, baseline, entrant)
        for baseline in contest.entrants
        if baseline.kind in BASELINES
        for entrant in here(contest, ("bundle",))
    ]
    header = ("Contestant", "Times as fast as", "Median", "95 % interval", "Interval", "Wanted", "Kept")
    if ratios:
        found.append(Sheet("Ratios, round by round", header, ratios))
    beside = [row for entrant in here(contest, ("bundle",)) for row in _recorded_beside(contest, entrant)]
    if beside:
        found.append(Sheet("The same graphs beside the teacher, where it was recorded", header[:4], beside))
    shares = [row for entrant in here(contest, ("bundle",)) for row in _shares(contest, entrant)]
    if shares:
        columns = ("Contestant", "Of the teacher's", "Share", "Wanted", "Kept")
        found.append(Sheet("Shares of the teacher", columns, shares))
    return [*found, *_missed(contest)]


def comparison_page(contest: Comparison) -> Page:
    """The comparison for people."""
    return Page(
        title=title(contest),
        notes=notes(contest),
        sheets=sheets(contest),
        fault=contest.noisy or contest.partial,
        provenance=origin(contest.date, contest.command, contest.machine, contest.versions),
    )


def section(paths: Sequence[Path]) -> Part:
    """The section of all comparisons, with a picture for each.

    Raises ResultError for one of a busy machine and for a partial one.
    """
    from edgecap_bench.comparison.plot import draw

    return illustrated(paths, read_comparison, comparison_page, draw)


def name(entrant: Entrant) -> str:
    """Its key, marked where it was not measured in this run."""
    return f"{entrant.key} (recorded)" if entrant.recorded else entrant.key


def _shown(contest: Comparison) -> list[Entrant]:
    """All but bundles that were measured elsewhere."""
    return [entrant for entrant in contest.entrants if entrant.recorded is None or entrant.kind != "bundle"]


def _sizes(contest: Comparison) -> Sheet:
    header = (
        "Contestant",
        "What it is",
        "Parameters",
        "Multiply-adds, encoder",
        "decoder",
        "Files",
        "Load",
        "Peak memory",
    )
    rows: list[tuple[str, ...]] = [
        (
            name(entrant),
            entrant.label,
            count(entrant.parameters),
            count(entrant.encoder_multiply_adds),
            count(entrant.decoder_multiply_adds),
            amount(entrant.size_bytes, "B"),
            amount(entrant.load_seconds, "s"),
            amount(entrant.peak_bytes, "B"),
        )
        for entrant in _shown(contest)
    ]
    return Sheet("Size and work for a clip", header, rows)


def _times(contest: Comparison) -> Sheet:
    header = (
        "Contestant",
        *(f"{stage.capitalize()} [95 %], p95" for stage in (*STAGES[:3], "whole")),
        "Processor",
        "Of real time",
    )
    rows = []
    for entrant in _shown(contest):
        cells = []
        for stage in STAGES:
            found = summarise(entrant.seconds[stage])
            interval = spread(found.low, found.high, "s").replace(" to ", ", ")
            cells.append(f"{amount(found.median, 's')} [{interval}], {amount(found.p95, 's')}")
        processor = amount(summarise(entrant.processor_seconds).median, "s") if entrant.processor_seconds else ""
        rows.append((name(entrant), *cells, processor, f"{entrant.caption.median / contest.clip_seconds:.2%}"))
    return Sheet("Time for a clip", header, rows)


def _throughput(contest: Comparison) -> Sheet:
    threads = sorted({burst.threads for entrant in contest.entrants for burst in entrant.bursts})
    energy = any(burst.joules is not None for entrant in contest.entrants for burst in entrant.bursts)
    header = (
        "Contestant",
        *(f"Clips a second, {cores(number)}" for number in threads),
        *(f"Processor time a clip, {cores(number)}" for number in threads),
        *(f"Energy a clip, {cores(number)}" for number in threads if energy),
        f"A hop of {HOP_SECONDS:g} s in a stream",
    )
    rows = []
    for entrant in _shown(contest):
        by_threads = {burst.threads: burst for burst in entrant.bursts}
        bursts = [by_threads.get(number) for number in threads]
        cells = [f"{burst.captions / burst.seconds:.3g}" if burst else "" for burst in bursts]
        cells += [amount(burst.processor_seconds / burst.captions, "s") if burst else "" for burst in bursts]
        if energy:
            cells += [
                f"{burst.joules / burst.captions:.3g} J" if burst and burst.joules is not None else ""
                for burst in bursts
            ]
        hop = amount(summarise(entrant.hops).median, "s") if entrant.hops else "a whole clip"
        rows.append((name(entrant), *cells, hop))
    return Sheet("Throughput and streams", header, rows)


def _ratio(contest: Comparison, baseline: Entrant, entrant: Entrant) -> tuple[str, ...]:
    if baseline.recorded:
        median = baseline.caption.median / entrant.caption.median
        return (entrant.key, name(baseline), f"{median:.1f}", "", "another machine: no result", "", "")
    ratio = entrant.times_faster_than(baseline)
    least = wanted(baseline, entrant, contest.threads)
    kept = "" if least is None else "yes" if ratio.median >= least else "NO"
    digits = 1 if ratio.median >= 1 else 2
    return (
        entrant.key,
        baseline.key,
        f"{ratio.median:.{digits}f}",
        f"{ratio.low:.{digits}f} to {ratio.high:.{digits}f}",
        sureness(ratio),
        "" if least is None else f"at least {least:g}",
        kept,
    )


def _recorded_beside(contest: Comparison, entrant: Entrant) -> list[tuple[str, ...]]:
    """Ratios of the same graphs on the machine where the teacher was recorded."""
    twins = [other for other in contest.entrants if other.recorded and other.graphs and other.graphs == entrant.graphs]
    rows: list[tuple[str, ...]] = []
    for twin in twins[:1]:
        for baseline in (other for other in contest.entrants if other.recorded and other.kind in BASELINES):
            ratio = twin.times_faster_than(baseline)
            rows.append((entrant.key, name(baseline), f"{ratio.median:.1f}", f"{ratio.low:.1f} to {ratio.high:.1f}"))
    return rows


def _shares(contest: Comparison, entrant: Entrant) -> list[tuple[str, ...]]:
    teacher = next((baseline for baseline in contest.entrants if baseline.kind == "teacher"), None)
    if teacher is None:
        return []
    most_bytes = MOST_BYTES_INT8 if entrant.precision == "int8" else None
    rows: list[tuple[str, float, float | None]] = [("bytes", entrant.size_bytes / teacher.size_bytes, most_bytes)]
    if entrant.parameters:
        rows.append(("parameters, as published", entrant.parameters / TEACHER_PARAMETERS, MOST_PARAMETERS))
    if entrant.multiply_adds and teacher.multiply_adds:
        rows.append(("multiply-adds", entrant.multiply_adds / teacher.multiply_adds, None))
    return [
        (
            entrant.key,
            what,
            f"{share:.2%}",
            "" if most is None else f"at most {most:.1%}",
            "" if most is None else "yes" if share <= most else "NO",
        )
        for what, share, most in rows
    ]


def _missed(contest: Comparison) -> list[Sheet]:
    """For what is slower than wanted: what it would have to take, and where its time goes."""
    rows: list[tuple[str, ...]] = []
    profiled: dict[str, Entrant] = {}
    for entrant, baseline, ratio, least in misses(contest):
        whole, must = entrant.caption.median, entrant.caption.median * ratio / least
        stages = [f"{stage} {amount(summarise(entrant.seconds[stage]).median, 's')}" for stage in STAGES[:3]]
        rate = (entrant.encoder_multiply_adds or 0) / summarise(entrant.seconds["encoder"]).median / 1e9
        others = (baseline.encoder_multiply_adds or 0) / summarise(baseline.seconds["encoder"]).median / 1e9
        encoder = summarise(entrant.seconds["encoder"]).median
        alone = encoder - (whole - must)
        change = (
            f"by the encoder alone: {amount(alone, 's')} instead of {amount(encoder, 's')}"
            if alone > 0
            else ("the encoder alone cannot bring it")
        )
        rows.append(
            (
                entrant.key,
                f"{ratio:.1f} of {least:g} x {baseline.key}",
                f"{amount(whole, 's')}: {', '.join(stages)}",
                f"{amount(must, 's')}; {change}",
                f"{rate:.0f} G, of {baseline.key} {others:.0f} G",
                _less_work(entrant, baseline),
            )
        )
        profiled |= {each.key: each for each in (entrant, baseline) if each.profile}
    if not rows:
        return []
    header = (
        "Contestant",
        "Reached",
        "Takes",
        "Would have to take",
        "Multiply-adds a second in the encoder",
        "Multiply-adds in all",
    )
    found = [Sheet("What was missed, and by how much", header, rows)]
    for entrant in profiled.values():
        total = sum(each.seconds for each in entrant.profile)
        top = sorted(entrant.profile, key=lambda each: -each.seconds)[:SHOWN_OPERATORS]
        found.append(
            Sheet(
                f"Where the time goes: {entrant.key}",
                ("Graph", "Operator", "Nodes run", "Time", "Share"),
                [
                    (
                        each.graph,
                        each.operator,
                        str(each.count),
                        amount(each.seconds, "s"),
                        f"{each.seconds / total:.0%}",
                    )
                    for each in top
                ],
            )
        )
    return found


def _less_work(entrant: Entrant, baseline: Entrant) -> str:
    """How many times less work a bundle does: at the same speed of arithmetic it can be no faster than that."""
    if not entrant.multiply_adds or not baseline.multiply_adds:
        return "not counted"
    return f"{baseline.multiply_adds / entrant.multiply_adds:.1f} times fewer"
