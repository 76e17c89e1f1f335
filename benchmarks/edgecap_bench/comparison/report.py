"""A comparison as tables."""

from __future__ import annotations

from collections.abc import Callable

from edgecap_bench.candidates.runner import HOP_SECONDS
from edgecap_bench.comparison.results import STAGES, CandidateResult, Comparison
from edgecap_bench.comparison.targets import (
    BASELINES,
    MOST_BYTES_INT8,
    MOST_PARAMETERS,
    MOST_SECONDS,
    TEACHER_PARAMETERS,
    confidence,
    misses,
    wanted,
)
from edgecap_bench.harness.timing import summarise
from edgecap_bench.reports.measurement import Header, Measurement
from edgecap_bench.reports.tables import Page, Sheet, amount, count, measured_page, place, spread, threads, verdict

SHOWN_OPERATORS = 6


def comparison_page(measurement: Measurement[Comparison]) -> Page:
    """The comparison for people."""
    header, comparison = measurement.header, measurement.body
    return measured_page(
        header, title(comparison), sheets(comparison), notes=notes(comparison), faults=faults(header, comparison)
    )


def title(comparison: Comparison) -> str:
    """What was compared, in a line."""
    measured = len(comparison.measured())
    return (
        f"{measured} candidates, {comparison.done_rounds} rounds, {threads(comparison.threads)}, "
        f"beam {comparison.beam}, {comparison.tokens} tokens"
    )


def faults(header: Header, comparison: Comparison) -> list[str]:
    """Why it is not a result, with the rounds of a run that was cut short."""
    rounds = f"PARTIAL, {comparison.done_rounds} of {comparison.rounds} rounds"
    return [rounds if fault == "PARTIAL" else fault for fault in header.faults]


def notes(comparison: Comparison) -> list[str]:
    """What a reader must know to judge the tables."""
    candidates = comparison.candidates
    random = [each.key for each in candidates if each.random_weights]
    lines = [
        f"All caption the same {comparison.clip_seconds:g} s clips ({', '.join(comparison.clips)}) in turns, with "
        f"{comparison.beam} beams and exactly {comparison.tokens} generated tokens each: no end token ends a search.",
        "A turn runs its clip twice and times the second run, so no candidate is slowed by caches that another filled.",
    ]
    if random:
        lines.append(f"Random weights: {', '.join(random)}. Speed, work and size do not depend on the weights' values.")
    if any(each.kind == "teacher-onnx" for each in candidates):
        lines.append(
            "The teacher at its best gives other captions than the published one: its encoder sees 32 "
            "positions instead of 1,024. It is the least that this teacher can cost."
        )
    records = {each.recorded.date: each.recorded for each in candidates if each.recorded}
    for record in records.values():
        lines.append(
            f"(recorded) was measured elsewhere: {record.date}, {place(record.machine)}, PyTorch "
            f"{record.versions.get('torch', 'unknown')}. Its times are that machine's, so a ratio to them is "
            "not a result; its parameters, bytes and multiply-adds hold on every machine."
        )
    lines += [f"{each.key}: {each.not_counted}." for each in candidates if each.not_counted]
    lines += [f"Left out: {line}." for line in comparison.left_out]
    before, after = comparison.before, comparison.after
    if before is not None and after is not None:
        lines.append(f"The board before: {before}; after: {after}.")
        if after.throttled or before.throttled:
            lines.append("The board was throttled (heat or voltage), so its times are longer than they need be.")
        energy = comparison.energy
        lines.append(f"Energy counted by: {energy}." if energy else "This machine does not count energy.")
    if comparison.took_seconds is not None:
        slow = comparison.took_seconds > MOST_SECONDS
        over = f", more than the {MOST_SECONDS / 60:g} minutes wanted" if slow else ""
        lines.append(f"The whole comparison took {comparison.took_seconds / 60:.1f} minutes{over}.")
    return lines


def sheets(comparison: Comparison) -> list[Sheet]:
    """Size and cost, times, throughput, ratios, shares, and where the time goes of what was too slow."""
    tables = [_sizes(comparison), _times(comparison)]
    if any(each.bursts or each.hops for each in comparison.candidates):
        tables.append(_throughput(comparison))
    bundles = comparison.measured(("bundle",))
    baselines = [each for each in comparison.candidates if each.kind in BASELINES]
    header = ("Candidate", "Times as fast as", "Median", "95 % interval", "Interval", "Wanted", "Kept")
    tables += [
        Sheet(
            "Ratios, round by round",
            header,
            [_ratio(comparison, baseline, bundle) for baseline in baselines for bundle in bundles],
        ),
        Sheet(
            "The same graphs beside the teacher, where it was recorded",
            header[:4],
            [row for bundle in bundles for row in _recorded_beside(comparison, bundle)],
        ),
        Sheet(
            "Shares of the teacher",
            ("Candidate", "Of the teacher's", "Share", "Wanted", "Kept"),
            [row for bundle in bundles for row in _shares(comparison, bundle)],
        ),
    ]
    return [*(table for table in tables if table.rows), *_missed(comparison)]


def name(candidate: CandidateResult) -> str:
    """Its key, marked where it was not measured in this run."""
    return f"{candidate.key} (recorded)" if candidate.recorded else candidate.key


def shown(comparison: Comparison) -> list[CandidateResult]:
    """All but bundles that were measured elsewhere."""
    return [each for each in comparison.candidates if each.recorded is None or each.kind != "bundle"]


def _sizes(comparison: Comparison) -> Sheet:
    columns: list[tuple[str, Callable[[CandidateResult], str]]] = [
        ("Candidate", name),
        ("What it is", lambda each: each.label),
    ]
    if any(each.parameters for each in comparison.candidates):
        columns += [
            ("Parameters", lambda each: count(each.parameters)),
            ("Multiply-adds, encoder", lambda each: count(each.encoder_multiply_adds)),
            ("decoder", lambda each: count(each.decoder_multiply_adds)),
        ]
    columns += [
        ("Files", lambda each: amount(each.size_bytes, "B")),
        ("Load", lambda each: amount(each.load_seconds, "s")),
        ("Peak memory", lambda each: amount(each.peak_bytes, "B")),
    ]
    rows = [tuple(cell(each) for _, cell in columns) for each in shown(comparison)]
    return Sheet("Size and work for a clip", tuple(title for title, _ in columns), rows)


def _times(comparison: Comparison) -> Sheet:
    header = (
        "Candidate",
        *(f"{stage.capitalize()} [95 %], p95" for stage in (*STAGES[:3], "whole")),
        "Processor",
        "Of real time",
    )
    rows = []
    for each in shown(comparison):
        cells = []
        for stage in STAGES:
            summary = summarise(each.seconds[stage])
            interval = spread(summary.low, summary.high, "s").replace(" to ", ", ")
            cells.append(f"{amount(summary.median, 's')} [{interval}], {amount(summary.p95, 's')}")
        processor = amount(summarise(each.processor_seconds).median, "s") if each.processor_seconds else ""
        rows.append((name(each), *cells, processor, f"{each.caption.median / comparison.clip_seconds:.2%}"))
    return Sheet("Time for a clip", header, rows)


def _throughput(comparison: Comparison) -> Sheet:
    counts = sorted({burst.threads for candidate in comparison.candidates for burst in candidate.bursts})
    energy = any(burst.joules is not None for candidate in comparison.candidates for burst in candidate.bursts)
    header = (
        "Candidate",
        *(f"Clips a second, {threads(number)}" for number in counts),
        *(f"Processor time a clip, {threads(number)}" for number in counts),
        *(f"Energy a clip, {threads(number)}" for number in counts if energy),
        f"A hop of {HOP_SECONDS:g} s in a stream",
    )
    rows = []
    for candidate in shown(comparison):
        by_threads = {burst.threads: burst for burst in candidate.bursts}
        bursts = [by_threads.get(number) for number in counts]
        cells = [f"{burst.captions / burst.seconds:.3g}" if burst else "" for burst in bursts]
        cells += [amount(burst.processor_seconds / burst.captions, "s") if burst else "" for burst in bursts]
        if energy:
            cells += [
                f"{burst.joules / burst.captions:.3g} J" if burst and burst.joules is not None else ""
                for burst in bursts
            ]
        hop = amount(summarise(candidate.hops).median, "s") if candidate.hops else "a whole clip"
        rows.append((name(candidate), *cells, hop))
    return Sheet("Throughput and streams", header, rows)


def _ratio(comparison: Comparison, baseline: CandidateResult, candidate: CandidateResult) -> tuple[str, ...]:
    if baseline.recorded:
        median = baseline.caption.median / candidate.caption.median
        return (candidate.key, name(baseline), f"{median:.1f}", "", "another machine: not a result", "", "")
    ratio = candidate.times_faster_than(baseline)
    least = wanted(baseline, candidate, comparison.threads)
    digits = 1 if ratio.median >= 1 else 2
    return (
        candidate.key,
        baseline.key,
        f"{ratio.median:.{digits}f}",
        f"{ratio.low:.{digits}f} to {ratio.high:.{digits}f}",
        confidence(ratio),
        "" if least is None else f"at least {least:g}",
        verdict(None if least is None else ratio.median >= least),
    )


def _recorded_beside(comparison: Comparison, candidate: CandidateResult) -> list[tuple[str, ...]]:
    """Ratios of the same graphs on the machine where the teacher was recorded."""
    twins = [
        other for other in comparison.candidates if other.recorded and other.graphs and other.graphs == candidate.graphs
    ]
    rows: list[tuple[str, ...]] = []
    for twin in twins[:1]:
        for baseline in (other for other in comparison.candidates if other.recorded and other.kind in BASELINES):
            ratio = twin.times_faster_than(baseline)
            rows.append((candidate.key, name(baseline), f"{ratio.median:.1f}", f"{ratio.low:.1f} to {ratio.high:.1f}"))
    return rows


def _shares(comparison: Comparison, candidate: CandidateResult) -> list[tuple[str, ...]]:
    teacher = next((baseline for baseline in comparison.candidates if baseline.kind == "teacher"), None)
    if teacher is None:
        return []
    most_bytes = MOST_BYTES_INT8 if candidate.precision == "int8" else None
    rows: list[tuple[str, float, float | None]] = [("bytes", candidate.size_bytes / teacher.size_bytes, most_bytes)]
    if candidate.parameters:
        rows.append(("parameters, as published", candidate.parameters / TEACHER_PARAMETERS, MOST_PARAMETERS))
    if candidate.multiply_adds and teacher.multiply_adds:
        rows.append(("multiply-adds", candidate.multiply_adds / teacher.multiply_adds, None))
    return [
        (
            candidate.key,
            what,
            f"{share:.2%}",
            "" if most is None else f"at most {most:.1%}",
            verdict(None if most is None else share <= most),
        )
        for what, share, most in rows
    ]


def _missed(comparison: Comparison) -> list[Sheet]:
    """For what is slower than wanted: what it would have to take, and where its time goes."""
    missed = misses(comparison)
    if not missed:
        return []
    header = (
        "Candidate",
        "Reached",
        "Takes",
        "Would have to take",
        "Multiply-adds a second in the encoder",
        "Multiply-adds in all",
    )
    profiled = {each.key: each for candidate, baseline, _, _ in missed for each in (candidate, baseline)}
    sheets = [Sheet("What was missed, and by how much", header, [_missed_row(*miss) for miss in missed])]
    return sheets + [_profile(each) for each in profiled.values() if each.profile]


def _missed_row(candidate: CandidateResult, baseline: CandidateResult, ratio: float, least: float) -> tuple[str, ...]:
    takes = {stage: summarise(candidate.seconds[stage]).median for stage in STAGES}
    excess = takes["caption"] * (1 - ratio / least)
    encoder, faster_encoder = takes["encoder"], takes["encoder"] - excess
    change = "the encoder alone cannot make up for it"
    if faster_encoder > 0:
        change = f"by the encoder alone: {amount(faster_encoder, 's')} instead of {amount(encoder, 's')}"
    stages = ", ".join(f"{stage} {amount(takes[stage], 's')}" for stage in STAGES[:3])
    return (
        candidate.key,
        f"{ratio:.1f} of {least:g} x {baseline.key}",
        f"{amount(takes['caption'], 's')}: {stages}",
        f"{amount(takes['caption'] - excess, 's')}; {change}",
        f"{_encoder_rate(candidate):.0f} G, of {baseline.key} {_encoder_rate(baseline):.0f} G",
        _less_work(candidate, baseline),
    )


def _encoder_rate(candidate: CandidateResult) -> float:
    """Billions of multiply-adds a second in the encoder."""
    return (candidate.encoder_multiply_adds or 0) / summarise(candidate.seconds["encoder"]).median / 1e9


def _profile(candidate: CandidateResult) -> Sheet:
    """The operators that take most of the time."""
    total = sum(each.seconds for each in candidate.profile)
    top = sorted(candidate.profile, key=lambda each: -each.seconds)[:SHOWN_OPERATORS]
    rows = [
        (each.graph, each.operator, str(each.count), amount(each.seconds, "s"), f"{each.seconds / total:.0%}")
        for each in top
    ]
    return Sheet(f"Where the time goes: {candidate.key}", ("Graph", "Operator", "Nodes run", "Time", "Share"), rows)


def _less_work(candidate: CandidateResult, baseline: CandidateResult) -> str:
    """How many times less work a bundle does: at the same speed of arithmetic it can be no faster than that."""
    if not candidate.multiply_adds or not baseline.multiply_adds:
        return "not counted"
    return f"{baseline.multiply_adds / candidate.multiply_adds:.1f} times fewer"
