"""Contestants taking turns: A B C A B C …, each in a process of its own, one running at a time.

A machine that slows down slows all of them alike, so ratios are formed round by round. After the rounds each one
captions alone for a moment, for its throughput and the energy that the machine counts meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgecap.bundle.bundle import load_bundle
from edgecap.errors import MeasurementError
from edgecap_bench.candidates.lineup import ComparisonPlan, Progress, digests, line_up, temporary_folder
from edgecap_bench.candidates.runners import Candidate
from edgecap_bench.comparison.results import HOP_SECONDS, STAGES, Burst, Entrant, OperatorTime
from edgecap_bench.harness import board_state as condition
from edgecap_bench.harness.board_state import Condition
from edgecap_bench.harness.energy import EnergyMeter, find_meter
from edgecap_bench.harness.workers import MeasurementProcess

LABELS = {
    "teacher": "teacher HTSAT-BART, PyTorch eager, 1,024 positions, generate",
    "teacher-onnx": "teacher at its best: 32 frames, cached, ONNX Runtime",
    "reference": "student as published, PyTorch eager, no cache",
    "tagger": "AudioSet tagger EfficientAT mn04, ONNX Runtime: tags, no sentence",
}
BURST_SECONDS = 0.5
HOPS = 12


@dataclass(frozen=True)
class Contested:
    """What came of it."""

    entrants: list[Entrant]
    clips: list[str]
    clip_seconds: float
    partial: bool
    before: Condition | None = None
    after: Condition | None = None
    energy: str = ""
    left_out: list[str] = field(default_factory=list)
    took_seconds: float | None = None


@dataclass
class _Stand:
    """One contestant at work, and what was seen of it so far."""

    entry: Candidate
    worker: MeasurementProcess
    loaded: dict[str, Any]
    turns: list[dict[str, Any]] = field(default_factory=list)
    size: dict[str, int] = field(default_factory=dict)
    fault: str = ""
    hops: list[float] = field(default_factory=list)
    bursts: list[Burst] = field(default_factory=list)
    profile: list[OperatorTime] = field(default_factory=list)


def compare_candidates(plan: ComparisonPlan, progress: Progress) -> Contested:
    """Run a comparison. Ctrl-C ends it with the whole rounds so far, `partial`; before the first, it is raised.

    Raises EdgecapError for a contestant or for sounds that cannot be used.
    """
    begin = time.monotonic()
    with temporary_folder() as folder, ExitStack() as stack:
        lineup = line_up(plan, Path(folder), progress, time.monotonic)
        stands = _load(plan, lineup.entries, lineup.left_out, stack, progress)
        meter = find_meter()
        before = condition.look()
        partial, done = False, 0
        try:
            for number in range(plan.rounds):
                progress("rounds", number, plan.rounds)
                answers = [stand.worker.ask(number) for stand in stands]
                for stand, answer in zip(stands, answers, strict=True):  # whole rounds only
                    stand.turns.append(answer)
                done += 1
            _afterwards(plan, stands, stack, meter, progress)
        except KeyboardInterrupt:
            if not done:
                raise
            partial = True
            stack.pop_all().close()
        after = condition.look()
        took = time.monotonic() - begin - lineup.export_seconds
        first = stands[0].loaded
        return Contested(
            _same_work([_entrant(stand) for stand in stands]),
            first["clips"],
            first["seconds"],
            partial,
            before,
            after,
            meter.source if meter else "",
            lineup.left_out,
            took,
        )


def _load(
    plan: ComparisonPlan, entries: list[Candidate], left_out: list[str], stack: ExitStack, progress: Progress
) -> list[_Stand]:
    """All contestants in their processes; an optional one that does not load is left out and told."""
    stands = []
    for number, entry in enumerate(entries):
        progress(f"loading {entry.key}", number, len(entries))
        worker = stack.enter_context(
            MeasurementProcess("run", _spec(plan, entry, plan.threads), plan.cores, plan.threads)
        )
        try:
            stands.append(_Stand(entry, worker, worker.answer()))
        except MeasurementError as error:
            if not entry.optional:
                raise
            left_out.append(f"{entry.key}: {error}")
    return stands


def _spec(plan: ComparisonPlan, entry: Candidate, threads: int) -> dict[str, Any]:
    return {
        "beam": plan.beam,
        "tokens": plan.tokens,
        "threads": threads,
        "clips": plan.clips and str(plan.clips),
        "entry": asdict(entry),
    }


def _afterwards(
    plan: ComparisonPlan, stands: list[_Stand], stack: ExitStack, meter: EnergyMeter | None, progress: Progress
) -> None:
    """What needs no turns: hops of a stream, throughput, counted work, profile, throughput with all threads.

    A contestant that fails at one of them keeps its times and what it had, and says why.
    """
    threads = len(plan.all_cores)

    def hops(stand: _Stand) -> None:
        stand.hops = stand.worker.ask(f"hop {HOP_SECONDS} {HOPS}")["hops"]

    def burst(stand: _Stand) -> None:
        stand.bursts.append(_burst(stand.worker, plan.threads, meter))

    def count(stand: _Stand) -> None:
        stand.size = stand.worker.ask("size")
        stand.profile = [OperatorTime(**each) for each in stand.worker.ask("profile")["profile"]]

    def burst_wide(stand: _Stand) -> None:
        stand.worker.end()
        with MeasurementProcess("run", _spec(plan, stand.entry, threads), plan.all_cores, threads) as wide:
            wide.answer()
            stand.bursts.append(_burst(wide, threads, meter))

    phases: list[tuple[str, Callable[[_Stand], None]]] = [
        ("streams", hops),
        ("throughput", burst),
        ("counting work", count),
    ]
    phases += [(f"throughput with {threads} threads", burst_wide)] if threads > plan.threads else []
    for name, phase in phases:
        for number, stand in enumerate(stands):
            progress(name, number, len(stands))
            try:
                if not stand.fault or phase is burst_wide:
                    phase(stand)
            except MeasurementError as error:
                stand.fault = stand.fault or str(error)


def _burst(worker: MeasurementProcess, threads: int, meter: EnergyMeter | None) -> Burst:
    worker.ask("warm")  # before the meter starts, so that its energy is not taken for that of a counted caption
    if meter:
        meter.start()
    answer = worker.ask(f"burst {BURST_SECONDS}")
    return Burst(threads=threads, joules=meter.stop() if meter else None, **answer)


def _entrant(stand: _Stand) -> Entrant:
    entry, size = stand.entry, stand.size
    path = Path(entry.path)
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    more: dict[str, Any] = {"label": LABELS.get(entry.kind, ""), "precision": "fp32"}
    if entry.kind == "bundle":
        manifest = load_bundle(path).manifest
        more = {
            "label": f"edgecap {manifest.name}, {manifest.runtime} {manifest.precision}",
            "precision": manifest.precision,
            "runtime": manifest.runtime,
            "graphs": digests(path),
        }
    return Entrant(
        key=entry.key,
        kind=entry.kind,
        random_weights=entry.stand_in,
        size_bytes=sum(file.stat().st_size for file in files),
        load_seconds=stand.loaded["loaded"] - stand.worker.started,
        peak_bytes=max(turn["peak_bytes"] for turn in stand.turns),
        seconds={stage: [turn["stages"][stage] for turn in stand.turns] for stage in STAGES},
        processor_seconds=[turn["processor"] for turn in stand.turns],
        hops=stand.hops,
        bursts=stand.bursts,
        profile=stand.profile,
        parameters=size.get("parameters"),
        encoder_multiply_adds=size.get("encoder"),
        decoder_multiply_adds=size.get("decoder"),
        not_counted=stand.fault,
        **more,
    )


def _same_work(entrants: list[Entrant]) -> list[Entrant]:
    """Programs of other runtimes hold the same network as the ONNX graphs of their model, so they do the same work."""
    counted = {
        entrant.label.split(",")[0]: entrant
        for entrant in entrants
        if entrant.runtime == "onnx" and entrant.precision == "fp32" and entrant.multiply_adds is not None
    }
    found = []
    for entrant in entrants:
        twin = counted.get(entrant.label.split(",")[0])
        if entrant.runtime not in ("executorch", "litert") or twin is None:
            found.append(entrant)
            continue
        found.append(
            replace(
                entrant,
                parameters=twin.parameters,
                encoder_multiply_adds=twin.encoder_multiply_adds,
                decoder_multiply_adds=twin.decoder_multiply_adds,
                not_counted=f"work and parameters are those of {twin.key}, the same network",
            )
        )
    return found
