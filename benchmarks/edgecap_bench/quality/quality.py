"""Evaluation beside speed: every model captions every recording in turns, and the captions are scored.

The recordings are captioned and timed in a process of its own that holds all models; scoring comes afterwards.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgecap.bundle.bundle import Bundle, load_bundle
from edgecap.bundle.models import find_model
from edgecap.captioner import Captioner
from edgecap.errors import AudioError, BundleError, EdgecapError, MissingDependencyError
from edgecap_bench.candidates.lineup import LineUp
from edgecap_bench.candidates.variants import family_of, variants
from edgecap_bench.counting.macs import onnx_parameters
from edgecap_bench.harness.clips import read_start
from edgecap_bench.harness.processes import Measurement
from edgecap_bench.quality.results import Scored

Progress = Callable[[str, int, int], None]
LEAST_CLIPS = 2


@dataclass(frozen=True, kw_only=True)
class QualityPlan:
    """What to caption and score."""

    models: tuple[str | None, ...]
    runtimes: tuple[str, ...]
    data: Path
    dataset: str | None
    beam: int | None
    threads: int
    cores: Sequence[int]


@dataclass(frozen=True)
class QualityRun:
    """What came of it."""

    models: list[Scored]
    clips: int
    skipped: list[str]
    left_out: list[str]
    partial: bool


def check_scoring() -> None:
    """Say before minutes of work that captions could not be scored. Raises MissingDependencyError."""
    if any(find_spec(name) is None for name in ("torch", "aac_metrics")):
        raise MissingDependencyError.for_extra("--quality", "train")


def measure_quality(plan: QualityPlan, progress: Progress) -> QualityRun:
    """Caption and score. Ctrl-C ends it with the recordings so far, `partial`; before the second, it is raised.

    Raises EdgecapError for a table, a model or a score that cannot be.
    """
    from edgecap_train.evaluation.held_out import cider_d, read_references

    rows = [row for row in read_references(plan.data) if row.group.startswith(plan.dataset or "")]
    if len(rows) < LEAST_CLIPS:
        raise EdgecapError(
            f"{plan.data.name} has {len(rows)} rows that fit and a score needs {LEAST_CLIPS}; leave out "
            "--dataset or name another table"
        )
    lineup = LineUp()
    for model in plan.models:
        lineup.add_bundle(find_model(model))
    if plan.runtimes:
        for family in [family_of(Path(entry.path)) for entry in lineup.entries]:
            there, missing = variants(family, plan.runtimes, progress)
            taken = {Path(entry.path).resolve() for entry in lineup.entries}
            for bundle in (each for each in there if each.resolve() not in taken):
                lineup.add_bundle(bundle, optional=True)
            lineup.left_out += missing
    answers: list[dict[str, Any]] = []
    spec = {
        "models": [entry.path for entry in lineup.entries],
        "files": [str(row.file) for row in rows],
        "beam": plan.beam,
        "threads": plan.threads,
    }
    partial = False
    try:
        Measurement(plan.cores, plan.threads).run(
            "judge",
            json.dumps(spec),
            progress=lambda done, total: progress("recordings", done, total),
            part=answers.append,
        )
    except KeyboardInterrupt:
        if sum("captions" in answer for answer in answers) < LEAST_CLIPS:
            raise
        partial = True
    skipped = [answer["skipped"] for answer in answers if "skipped" in answer]
    kept = [(row, answer) for row, answer in zip(rows, answers, strict=False) if "captions" in answer]
    if len(kept) < LEAST_CLIPS:
        raise AudioError(f"{len(skipped)} of {len(rows)} recordings could not be read, the first: {skipped[0]}")
    scored = []
    for place, entry in enumerate(lineup.entries):
        texts = [answer["captions"][place] for _, answer in kept]
        first = [answer["captions"][0] for _, answer in kept]
        score = cider_d(texts, [row.captions for row, _ in kept])
        loaded = load_bundle(entry.path)
        scored.append(
            Scored(
                key=entry.key,
                runtime=loaded.manifest.runtime,
                precision=loaded.manifest.precision,
                size_bytes=loaded.size,
                parameters=_parameters(loaded),
                seconds=[answer["seconds"][place] for _, answer in kept],
                cider_d=score.mean,
                low=score.low,
                high=score.high,
                different=len(set(texts)),
                same_as_first=sum(a == b for a, b in zip(texts, first, strict=True)) / len(texts),
            )
        )
    return QualityRun(scored, len(kept), skipped, lineup.left_out, partial)


def judge(
    models: list[str], files: list[str], beam: int | None, threads: int, part: Callable[..., None]
) -> dict[str, Any]:
    """Caption every file with every model, in turns, in this process; a part for each file, in order."""
    captioners = [Captioner.load(Path(model), threads=threads) for model in models]
    for number, file in enumerate(files):
        captions, seconds = [], []
        try:
            for captioner in captioners:
                rate = captioner.manifest.front_end.sample_rate
                samples = read_start(Path(file), rate, round(captioner.window * rate))
                begin = time.perf_counter()
                captions.append(captioner.caption(samples, rate, beam=beam).text)
                seconds.append(time.perf_counter() - begin)
        except AudioError as error:
            part(progress=[number + 1, len(files)], part={"skipped": str(error).replace(file, Path(file).name)})
            continue
        part(progress=[number + 1, len(files)], part={"captions": captions, "seconds": seconds})
    return {}


def _parameters(bundle: Bundle) -> int | None:
    if bundle.manifest.runtime != "onnx":
        return None
    try:
        return onnx_parameters([bundle.path("encode"), bundle.path("decode")])
    except BundleError:
        return None
