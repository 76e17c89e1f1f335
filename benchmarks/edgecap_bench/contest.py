"""Contestants taking turns: A B C A B C …, each in a process of its own, one running at a time.

A machine that slows down slows all of them alike, so ratios are formed round by round.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgecap.bundle import load_bundle
from edgecap.models import find_model
from edgecap_bench.contest_results import STAGES, Entrant
from edgecap_bench.runners import Entry
from edgecap_bench.workers import ContestantError, Worker

Progress = Callable[[str, int, int], None]
LABELS = {
    "teacher": "teacher HTSAT-BART, PyTorch eager, 1,024 positions, generate",
    "teacher-onnx": "teacher at its best: 32 frames, cached, ONNX Runtime",
    "reference": "student as published, PyTorch eager, no cache",
}


@dataclass(frozen=True, kw_only=True)
class ContestPlan:
    """Whom to compare, and how."""

    models: tuple[str | None, ...]
    """Bundles: folders or names, None for the one inside the package."""
    teacher: bool
    reference: bool
    clips: Path | None
    rounds: int
    tokens: int
    beam: int
    threads: int
    cores: Sequence[int]


@dataclass(frozen=True)
class Contested:
    """What came of it."""

    entrants: list[Entrant]
    clips: list[str]
    clip_seconds: float
    partial: bool


def contest(plan: ContestPlan, progress: Progress) -> Contested:
    """Run a comparison. Ctrl-C ends it with the whole rounds so far, `partial`; before the first, it is raised.

    Raises EdgecapError for a contestant or for sounds that cannot be used.
    """
    bundles = [find_model(model) for model in plan.models]
    for bundle in bundles:  # said before minutes are spent on the others
        load_bundle(bundle)
    with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as folder, ExitStack() as stack:
        entries = _entries(plan, bundles, Path(folder), progress)
        spec = {"beam": plan.beam, "tokens": plan.tokens, "threads": plan.threads,
                "clips": plan.clips and str(plan.clips)}
        workers = []
        for number, entry in enumerate(entries):
            progress(f"loading {entry.key}", number, len(entries))
            worker = stack.enter_context(Worker("run", {**spec, "entry": asdict(entry)}, plan.cores, plan.threads))
            workers.append((entry, worker, worker.answer()))
        turns: list[dict[str, dict[str, Any]]] = []
        sizes: dict[str, dict[str, int]] = {}
        faults: dict[str, str] = {}
        partial = False
        try:
            for number in range(plan.rounds):
                progress("rounds", number, plan.rounds)
                turns.append({entry.key: worker.ask(number) for entry, worker, _ in workers})
            for number, (entry, worker, _) in enumerate(workers):
                progress("counting work", number, len(workers))
                try:
                    sizes[entry.key] = worker.ask("size")
                except ContestantError as error:  # the times are good all the same
                    faults[entry.key] = str(error)
        except KeyboardInterrupt:
            if not turns:
                raise
            partial = True
            stack.pop_all().close()
        entrants = [
            replace(_entrant(entry, worker, loaded, turns, sizes), not_counted=faults.get(entry.key, ""))
            for entry, worker, loaded in workers
        ]
        first = workers[0][2]
        return Contested(entrants, first["clips"], first["seconds"], partial)


def _entrant(
    entry: Entry, worker: Worker, loaded: dict[str, Any], turns: list[dict[str, dict[str, Any]]],
    sizes: dict[str, dict[str, int]],
) -> Entrant:  # fmt: skip
    mine = [turn[entry.key] for turn in turns]
    size = sizes.get(entry.key, {})
    path = Path(entry.path)
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    label, precision = LABELS.get(entry.kind, ""), "fp32"
    if entry.kind == "bundle":
        manifest = load_bundle(path).manifest
        label, precision = f"edgecap {manifest.name}, {manifest.runtime} {manifest.precision}", manifest.precision
    return Entrant(
        key=entry.key, kind=entry.kind, label=label, precision=precision, random_weights=entry.stand_in,
        size_bytes=sum(file.stat().st_size for file in files), load_seconds=loaded["loaded"] - worker.started,
        peak_bytes=max(turn["peak_bytes"] for turn in mine),
        seconds={stage: [turn["stages"][stage] for turn in mine] for stage in STAGES},
        parameters=size.get("parameters"), encoder_multiply_adds=size.get("encoder"),
        decoder_multiply_adds=size.get("decoder"),
    )  # fmt: skip


def _entries(plan: ContestPlan, bundles: list[Path], folder: Path, progress: Progress) -> list[Entry]:
    """The contestants, published models' stand-ins made first."""
    entries = []
    base = {"threads": plan.threads}
    if plan.teacher:
        progress("writing and exporting a teacher with random weights", 0, 0)
        checkpoint, graphs = folder / "teacher.safetensors", folder / "teacher"
        _make({**base, "what": "teacher", "checkpoint": str(checkpoint), "graphs": str(graphs),
               "tokens": plan.tokens}, plan)
        entries += [Entry(key="teacher", kind="teacher", path=str(checkpoint), stand_in=True),
                    Entry(key="teacher-onnx", kind="teacher-onnx", path=str(graphs), stand_in=True)]
    if plan.reference:
        progress("writing and exporting a student with random weights", 0, 0)
        checkpoint, bundle = folder / "student.safetensors", folder / "effb2-trm"
        _make({**base, "what": "student", "checkpoint": str(checkpoint), "bundle": str(bundle)}, plan)
        entries += [Entry(key="reference", kind="reference", path=str(checkpoint), stand_in=True),
                    Entry(key="effb2-trm", kind="bundle", path=str(bundle), stand_in=True)]
    for bundle in bundles:
        manifest = load_bundle(bundle).manifest
        key = manifest.name if manifest.precision == "fp32" else f"{manifest.name} {manifest.precision}"
        taken = {entry.key for entry in entries}
        free = next(name for name in (key, *(f"{key} ({n})" for n in range(2, 99))) if name not in taken)
        entries.append(Entry(key=free, kind="bundle", path=str(bundle)))
    return entries


def _make(spec: dict[str, Any], plan: ContestPlan) -> None:
    with Worker("make", spec, [], plan.threads) as worker:  # not measured, so on any core
        worker.answer()
