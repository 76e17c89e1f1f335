"""Evaluation beside speed: every model captions every recording in turns, and the captions are scored.

The recordings are captioned and timed in a separate process that holds all models; scoring comes afterwards.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgecap.audio.file import decode
from edgecap.bundle.bundle import Bundle, load_bundle
from edgecap.bundle.models import find_model
from edgecap.captioner import Captioner
from edgecap.errors import AudioError, BundleError, MissingDependencyError, TableError
from edgecap.util.progress import Progress
from edgecap_bench.candidates.selection import Selection
from edgecap_bench.candidates.variants import family_of
from edgecap_bench.counting.macs import onnx_parameters
from edgecap_bench.harness.child import Channel
from edgecap_bench.harness.process import Cores, labelled, run_measurement
from edgecap_bench.quality.results import Quality, Scored

LEAST_CLIPS = 2


@dataclass(frozen=True, kw_only=True)
class QualityPlan:
    """What to caption and score."""

    models: tuple[str | None, ...]
    runtimes: tuple[str, ...]
    data: Path
    dataset: str | None
    beam: int | None
    cores: Cores


def check_scoring() -> None:
    """Say before minutes of work that captions could not be scored. Raises MissingDependencyError."""
    if any(find_spec(name) is None for name in ("torch", "aac_metrics")):
        raise MissingDependencyError.for_extra("--quality", "train")


def measure_quality(plan: QualityPlan, progress: Progress) -> tuple[Quality, bool]:
    """Caption and score; what came of it, and whether it was cut short.

    Ctrl-C ends it with the recordings so far; before the second, KeyboardInterrupt is raised. Raises EdgecapError for a
    table, a model or a score that cannot be used.
    """
    from edgecap_train.evaluation.held_out import read_references

    rows = [row for row in read_references(plan.data) if row.group.startswith(plan.dataset or "")]
    if len(rows) < LEAST_CLIPS:
        raise TableError(
            f"{plan.data.name} has {len(rows)} rows that match and a score needs {LEAST_CLIPS}; leave out --dataset or "
            "name another table"
        )
    selection = Selection()
    for model in plan.models:
        selection.add_bundle(find_model(model))
    for candidate in list(selection.candidates) if plan.runtimes else []:
        selection.add_variants(family_of(Path(candidate.path)), plan.runtimes, progress)
    answers: list[dict[str, Any]] = []
    spec = {
        "models": [candidate.path for candidate in selection.candidates],
        "files": [str(row.file) for row in rows],
        "beam": plan.beam,
        "threads": plan.cores.threads,
    }
    partial = False
    try:
        run_measurement(
            "edgecap_bench.quality.quality:caption_recordings",
            spec,
            cores=plan.cores,
            progress=labelled(progress, "recordings"),
            part=answers.append,
        )
    except KeyboardInterrupt:
        if sum("captions" in answer for answer in answers) < LEAST_CLIPS:
            raise
        partial = True
    skipped = [answer["skipped"] for answer in answers if "skipped" in answer]
    kept = [(row.captions, answer) for row, answer in zip(rows, answers, strict=False) if "captions" in answer]
    if len(kept) < LEAST_CLIPS:
        raise AudioError(f"{len(skipped)} of {len(rows)} recordings could not be read, the first: {skipped[0]}")
    models = [
        _scored(candidate.key, load_bundle(candidate.path), place, kept)
        for place, candidate in enumerate(selection.candidates)
    ]
    quality = Quality(
        data=plan.data.name,
        clips=len(kept),
        skipped=skipped,
        threads=plan.cores.threads,
        beam=plan.beam,
        models=models,
        left_out=selection.left_out,
    )
    return quality, partial


def _scored(key: str, bundle: Bundle, place: int, kept: list[tuple[Any, dict[str, Any]]]) -> Scored:
    """The model at `place` in the answers; `kept` are references and answers of the recordings."""
    from edgecap_train.evaluation.held_out import cider_d

    captions = [answer["captions"][place] for _, answer in kept]
    same = [answer["captions"][0] == caption for caption, (_, answer) in zip(captions, kept, strict=True)]
    score = cider_d(captions, [references for references, _ in kept])
    return Scored(
        key=key,
        runtime=bundle.manifest.runtime,
        precision=bundle.manifest.precision,
        size_bytes=bundle.size,
        parameters=_parameters(bundle),
        seconds=[answer["seconds"][place] for _, answer in kept],
        cider_d=score.mean,
        low=score.low,
        high=score.high,
        different=len(set(captions)),
        same_as_first=sum(same) / len(same),
    )


def caption_recordings(channel: Channel, spec: str) -> None:
    """Caption every file with every model, in turns, in a child; a part for each file, in order.

    `spec` is JSON: models (folders), files, beam, threads.
    """
    options = json.loads(spec)
    captioners = [Captioner.load(Path(model), threads=options["threads"]) for model in options["models"]]
    files = options["files"]
    for number, file in enumerate(files):
        captions, seconds = [], []
        try:
            for captioner in captioners:
                rate = captioner.manifest.front_end.sample_rate
                samples = decode(Path(file), rate, captioner.window)
                begin = time.perf_counter()
                captions.append(captioner.caption(samples, rate, beam=options["beam"]).text)
                seconds.append(time.perf_counter() - begin)
            channel.part({"captions": captions, "seconds": seconds})
        except AudioError as error:
            channel.part({"skipped": str(error).replace(file, Path(file).name)})
        channel.progress(number + 1, len(files))


def _parameters(bundle: Bundle) -> int | None:
    if bundle.manifest.runtime != "onnx":
        return None
    try:
        return onnx_parameters([bundle.path("encode"), bundle.path("decode")])
    except (BundleError, MissingDependencyError):
        return None
