"""Candidates taking turns: A B C A B C …, each in a separate process, one running at a time.

A machine that slows down slows all of them alike, so ratios are formed round by round. After the rounds each candidate
captions alone for a moment, for its throughput and the energy that the machine counts meanwhile.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgecap.bundle.bundle import load_bundle
from edgecap.errors import MeasurementError
from edgecap.util.progress import Progress
from edgecap_bench.candidates.runner import HOP_SECONDS, Candidate, Kind
from edgecap_bench.candidates.selection import ComparisonPlan, select_candidates
from edgecap_bench.candidates.variants import digests
from edgecap_bench.comparison.results import STAGES, Burst, CandidateResult, Comparison
from edgecap_bench.counting.profile import OperatorTime
from edgecap_bench.harness.board_state import read_state
from edgecap_bench.harness.energy import EnergyMeter, find_meter
from edgecap_bench.harness.process import Cores, MeasurementProcess

LABELS: dict[Kind, str] = {
    "teacher": "teacher HTSAT-BART, PyTorch eager, 1,024 positions, generate",
    "teacher-onnx": "teacher at its best: 32 frames, cached, ONNX Runtime",
    "reference": "student as published, PyTorch eager, no cache",
}
BURST_SECONDS = 0.5
HOPS = 12


@dataclass
class Running:
    """One candidate in its process, and what was measured of it so far."""

    candidate: Candidate
    process: MeasurementProcess
    loaded: dict[str, Any]
    turns: list[dict[str, Any]] = field(default_factory=list)
    size: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    """Why something could not be measured or counted after the rounds."""
    hops: list[float] = field(default_factory=list)
    bursts: list[Burst] = field(default_factory=list)
    profile: list[OperatorTime] = field(default_factory=list)


def compare(
    plan: ComparisonPlan, progress: Progress, recorded: Sequence[CandidateResult] = ()
) -> tuple[Comparison, bool]:
    """Run a comparison; what came of it, and whether it was cut short. `recorded` candidates are added to it.

    Ctrl-C ends it with the whole rounds so far; before the first, KeyboardInterrupt is raised. Raises EdgecapError for
    a candidate or for sounds that cannot be used.
    """
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as folder, ExitStack() as stack:
        selection = select_candidates(plan, Path(folder), progress)
        running = _load(plan, selection.candidates, selection.left_out, stack, progress)
        meter = find_meter()
        before = read_state()
        partial = False
        try:
            for number in range(plan.rounds):
                progress(number, plan.rounds, "rounds")
                answers = [each.process.request("turn", number) for each in running]
                for each, answer in zip(running, answers, strict=True):  # whole rounds only
                    each.turns.append(answer)
            _after_rounds(plan, running, meter, progress)
        except KeyboardInterrupt:
            if not running[0].turns:
                raise
            partial = True
        after = read_state()
        results = with_same_counts([_result(each) for each in running])
        comparison = Comparison(
            threads=plan.cores.threads,
            beam=plan.beam,
            tokens=plan.tokens,
            clips=running[0].loaded["clips"],
            clip_seconds=running[0].loaded["seconds"],
            rounds=plan.rounds,
            candidates=[*results, *recorded],
            before=before,
            after=after,
            energy=meter.source if meter else "",
            left_out=selection.left_out,
            took_seconds=time.monotonic() - begin - selection.export_seconds,
        )
    return comparison, partial


def start_candidate(
    candidate: Candidate, cores: Cores, *, beam: int, tokens: int, clips: Path | None
) -> MeasurementProcess:
    """Start the process of a candidate; its first result says that it is loaded."""
    spec = {
        "candidate": asdict(candidate),
        "threads": cores.threads,
        "beam": beam,
        "tokens": tokens,
        "clips": clips and str(clips),
    }
    return MeasurementProcess("edgecap_bench.candidates.serve:serve_candidate", spec, cores=cores)


def _load(
    plan: ComparisonPlan, candidates: list[Candidate], left_out: list[str], stack: ExitStack, progress: Progress
) -> list[Running]:
    """All candidates in their processes; an optional one that does not load is named in `left_out`."""
    running = []
    for number, candidate in enumerate(candidates):
        progress(number, len(candidates), f"loading {candidate.key}")
        process = stack.enter_context(
            start_candidate(candidate, plan.cores, beam=plan.beam, tokens=plan.tokens, clips=plan.clips)
        )
        try:
            running.append(Running(candidate, process, process.result()))
        except MeasurementError as error:
            if not candidate.optional:
                raise
            left_out.append(f"{candidate.key}: {error}")
    return running


def _after_rounds(plan: ComparisonPlan, running: list[Running], meter: EnergyMeter | None, progress: Progress) -> None:
    """What needs no turns: hops of a stream, throughput, counted cost, profile, throughput with all threads.

    A candidate that fails at one of them keeps its times and what it had, and its fault is kept.
    """

    def hops(each: Running) -> None:
        each.hops = each.process.request("hops", HOP_SECONDS, HOPS)

    def throughput(each: Running) -> None:
        each.bursts.append(measure_burst(each.process, plan.cores.threads, meter))

    def profile(each: Running) -> None:
        each.profile = [OperatorTime(**operator) for operator in each.process.request("profile")]

    def count(each: Running) -> None:
        each.size = each.process.request("size")

    def throughput_all(each: Running) -> None:
        each.process.end()
        with start_candidate(
            each.candidate, plan.all_cores, beam=plan.beam, tokens=plan.tokens, clips=plan.clips
        ) as process:
            process.result()
            each.bursts.append(measure_burst(process, plan.all_cores.threads, meter))

    phases: list[tuple[str, Callable[[Running], None]]] = [
        ("streams", hops),
        ("throughput", throughput),
        ("profile", profile),
        ("counting", count),
    ]
    if plan.all_cores.threads > plan.cores.threads:
        phases.append((f"throughput with {plan.all_cores.threads} threads", throughput_all))
    for label, phase in phases:
        for number, each in enumerate(running):
            progress(number, len(running), label)
            try:
                if not each.fault or phase is throughput_all:
                    phase(each)
            except MeasurementError as error:
                each.fault = each.fault or str(error)


def measure_burst(process: MeasurementProcess, threads: int, meter: EnergyMeter | None) -> Burst:
    """Captions one after the other, and the energy that they take."""
    process.request("warm_up")  # before the meter starts, so that its energy is not counted
    if meter:
        meter.start()
    burst = process.request("burst", BURST_SECONDS)
    return Burst(threads=threads, joules=meter.stop() if meter else None, **burst)


def _result(running: Running) -> CandidateResult:
    candidate, turns = running.candidate, running.turns
    path = Path(candidate.path)
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    details: dict[str, Any] = {"label": LABELS.get(candidate.kind, ""), "precision": "fp32"}
    if candidate.kind == "bundle":
        bundle = load_bundle(path)
        manifest, size = bundle.manifest, bundle.loaded_size
        details = {
            "label": f"edgecap {manifest.name}, {manifest.runtime} {manifest.precision}",
            "precision": manifest.precision,
            "runtime": manifest.runtime,
            "graphs": digests(manifest),
        }
    return CandidateResult(
        key=candidate.key,
        kind=candidate.kind,
        random_weights=candidate.random_weights,
        size_bytes=size,
        load_seconds=running.loaded["loaded"] - running.process.started,
        peak_bytes=max(turn["peak_bytes"] for turn in turns),
        seconds={stage: [turn["stages"][stage] for turn in turns] for stage in STAGES},
        processor_seconds=[turn["processor"] for turn in turns],
        hops=running.hops,
        bursts=running.bursts,
        profile=running.profile,
        not_counted=running.fault,
        **running.size,
        **details,
    )


def with_same_counts(results: list[CandidateResult]) -> list[CandidateResult]:
    """Programs of other runtimes hold the network of the ONNX graphs of their model, so their counts are the same."""
    counted = {
        each.label.split(",")[0]: each
        for each in results
        if each.runtime == "onnx" and each.precision == "fp32" and each.multiply_adds is not None
    }
    completed = []
    for each in results:
        twin = counted.get(each.label.split(",")[0])
        if each.runtime not in ("", "onnx") and twin is not None:
            each = replace(  # noqa: PLW2901
                each,
                parameters=twin.parameters,
                encoder_multiply_adds=twin.encoder_multiply_adds,
                decoder_multiply_adds=twin.decoder_multiply_adds,
                not_counted=f"parameters and multiply-adds are those of {twin.key}, the same network",
            )
        completed.append(each)
    return completed
