"""`edgecap train teacher` and `edgecap train pseudo-caption`. Commands parse, call and print."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecap.cli.console import say, write
from edgecap.errors import ConfigError
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

if TYPE_CHECKING:
    from edgecap_train.teachers.teacher import Teacher

teacher = typer.Typer(help="Train a teacher: HTSAT-BART on captioned sounds, or the tagger's captioner on text alone.")


@teacher.command("htsat-bart")
def htsat_bart(
    recipe: Annotated[Path, typer.Argument(help="Recipe, TOML; edgecap_train/recipes/htsat-bart.toml.")],
    *,
    data: Annotated[Path, typer.Option("--data", help="Recordings with captions: CSV with file, caption_1 …")],
    development: Annotated[Path, typer.Option("--development", help="The same, for choosing the best weights.")],
    out: RunFolder,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            "--weights", help="Checkpoint to start from, complete or partial: WavCaps, HTSAT, BART; may be repeated."
        ),
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(
            help="Folder with BART-base's vocab.json and merges.txt. [default: pieces learnt from the captions]"
        ),
    ] = None,
    threads: Threads = 1,
    engine: Engine = "local",
    workers: WorkerCount = None,
    address: Address = None,
    override: Override = [],  # noqa: B006 - typer copies it
) -> None:
    """Train HTSAT-BART on sounds with captions, from scratch or from partial weights.

    Writes teacher.safetensors in the WavCaps layout, which `pseudo-caption` reads. WavCaps' own weights are for
    academic use only, and so is a teacher that starts from them.
    """
    need("train teacher htsat-bart", "aac_metrics", "transformers", extra="teacher")
    from edgecap_train.teacher_training.htsat_training import TeacherRecipe
    from edgecap_train.teacher_training.run_htsat import train_htsat_bart
    from edgecap_train.training.recipe import read_document

    prepare_run(threads)
    on = workers_of(engine, workers, address, threads)
    settings = read_document(recipe, TeacherRecipe, override)
    given = [path.absolute() for path in weights or []]
    run = partial(train_htsat_bart, settings, data.absolute(), out.absolute(), development=development.absolute())
    unreadable = train_on(on, partial(run, weights=given, words=full(words))) or {}
    if not is_first():
        return
    for reason in unreadable.values():
        say("skipped", reason)
    left_out = f"; {len(unreadable)} recordings left out" if unreadable else ""
    write(f"{out / 'teacher.safetensors'}: trained{left_out}")


@teacher.command("tagger")
def tagger_captioner(
    recipe: Annotated[Path, typer.Argument(help="Recipe, TOML; the keys are those of text_teacher.TextRecipe.")],
    *,
    audio: Audio,
    captions: Captions,
    labels: Annotated[Path, typer.Option("--labels", help="The same of the development recordings; labels alone.")],
    tagger: TaggerFolder,
    development: Development,
    out: RunFolder,
    least_count: LeastCount = 4,
    threads: Threads = 1,
    engine: Engine = "local",
    workers: WorkerCount = None,
    address: Address = None,
    override: Override = [],  # noqa: B006 - typer copies it
) -> None:
    """Train the captioner that puts the tagger's scores into words, on text alone: no sound is captioned by hand.

    Each step draws scores for a caption's labels as the tagger really gives them. Writes teacher.safetensors.
    """
    need("train teacher tagger", "aac_metrics")
    from edgecap_train.data.prepare import Sources
    from edgecap_train.teacher_training.run_text import train_text_teacher
    from edgecap_train.teacher_training.text_teacher import TextRecipe
    from edgecap_train.training.recipe import read_document

    prepare_run(threads)
    on = workers_of(engine, workers, address, threads)
    settings = read_document(recipe, TextRecipe, override)
    sources = Sources(audio=audio.absolute(), captions=captions.absolute(), tagger=tagger.absolute())
    run = partial(train_text_teacher, settings, out.absolute(), sources, labels.absolute(), development.absolute())
    train_on(on, partial(run, least_count))
    if is_first():
        write(f"{out / 'teacher.safetensors'}: trained")


def pseudo_caption(
    recipe: Annotated[Path, typer.Argument(help="Recipe, TOML; edgecap_train/recipes/pseudo-caption.toml.")],
    *,
    audio: Annotated[Path, typer.Option("--audio", help="Folder of sounds, with folders inside.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the shards; complete ones are kept.")],
    tagger: Annotated[Path | None, typer.Option("--tagger", help="Folder of the EfficientAT tagger mn04_as.")] = None,
    captioner: Annotated[Path | None, typer.Option(help="What `edgecap train teacher tagger` wrote.")] = None,
    captions: Annotated[Path | None, typer.Option(help="For consensus captions: CSV of labelled captions.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="HTSAT-BART in the WavCaps layout.")] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="Its BART vocab.json. [default: beside it]")] = None,
    threads: Threads = 1,
    engine: Engine = "local",
    workers: WorkerCount = None,
    address: Address = None,
    override: Override = [],  # noqa: B006 - typer copies it
) -> None:
    """Let a teacher caption a folder of sounds, and keep its captions, frames and tag scores in shards.

    The shards are what `edgecap train student --audio-only` learns from. Stop it at any time; the same command resumes.
    With --engine ray several workers make them, the same ones; `threads` are those of each.
    """
    need("train pseudo-caption")
    from edgecap.util.progress import progress_bar
    from edgecap_train.data import pseudo
    from edgecap_train.training.recipe import read_document

    prepare_run(threads, logging.WARNING)
    settings = read_document(recipe, pseudo.PseudoRecipe, override)
    on = workers_of(engine, workers, address, threads)
    paths = [
        None if path is None else path.absolute() for path in (tagger, captioner, captions, checkpoint, vocabulary)
    ]
    chosen = _teacher(*paths)  # in this process for its name, and to see here what is wrong with it
    for note in chosen.notes:
        say("note", note)
    spread = None if on is None else pseudo.Spread(load=partial(_teacher, *paths), workers=on)
    with progress_bar("files") as progress:
        skipped = pseudo.pseudo_caption(chosen, audio, out, settings, progress=progress, spread=spread)
    write(f"{out}: captions by {chosen.name}" + (f"; {skipped} files left out, see clips.json" if skipped else ""))


def recaption(
    data: Annotated[Path, typer.Argument(help="Folder that `edgecap train scenes` wrote.")],
    *,
    captioner: Annotated[Path | None, typer.Option(help="What `edgecap train teacher tagger` wrote.")] = None,
    tagger: TaggerFolder,
    captions: Annotated[
        Path | None, typer.Option(help="CSV of labelled captions: the captioner and these people choose together.")
    ] = None,
    references: Annotated[
        int, typer.Option(min=0, max=1000, help="With --captions: so many of them beside each scene, for loss.reward.")
    ] = 0,
    development: Annotated[
        Path | None, typer.Option(help="With --captions: recordings whose captions must not be used, CSV.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Put the captioner's best before the captions that the scenes have.")
    ] = False,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the same scenes; complete shards are kept.")],
    threads: Threads = 1,
) -> None:
    """Give existing scenes the captions of another teacher, or references; no sound is decoded again.

    \b
    Examples:
      edgecap train recaption scenes --captioner teacher/teacher.safetensors --tagger tagger -o recaptioned
      edgecap train recaption recaptioned --captions captions.csv --references 60 --tagger tagger -o referenced
    """
    need("train recaption")
    if captioner is None and not references:
        raise ConfigError("name --captioner for new captions, or --references with --captions for references")
    if references and captions is None:
        raise ConfigError("--references are taken from --captions; name the CSV of labelled captions")
    from edgecap.util.progress import progress_bar
    from edgecap_train.data.recaption import NewWords, Writer, recaption_data
    from edgecap_train.evaluation.held_out import held_out
    from edgecap_train.teachers.consensus import CONSENSUS, ConsensusIndex
    from edgecap_train.teachers.ensemble import EnsembleConfig, EnsembleWriter
    from edgecap_train.teachers.score_captioner import ScoreWriter
    from edgecap_train.teachers.tagger import class_names
    from edgecap_train.text.handwritten_captions import labelled_captions

    prepare_run(threads, logging.WARNING)
    classes, left_out = class_names(tagger), held_out(development) if development else frozenset()
    labelled = labelled_captions(captions, left_out) if captions is not None else []
    writer: Writer | None = None
    if captioner is not None:
        writer = alone = ScoreWriter.load(captioner, classes)
        if labelled:
            writer = EnsembleWriter(ConsensusIndex(labelled, classes, CONSENSUS), alone, EnsembleConfig())
    people = ConsensusIndex([c for c in labelled if c.clip], classes, CONSENSUS) if references else None
    words = NewWords(writer, people, references, keep)
    with progress_bar("shards") as progress:
        recaption_data(data, out, words, progress=progress)
    by = " and ".join(path.name for path in (captioner, captions) if path is not None)
    write(f"{out}: " + (f"captions by {by}" if captioner else f"{references} references of each scene from {by}"))


def _teacher(
    tagger: Path | None, captioner: Path | None, captions: Path | None, checkpoint: Path | None, vocabulary: Path | None
) -> Teacher:
    """The teacher that the options name. Raises ConfigError where they name none or two."""
    from edgecap_train.teachers.teacher import ConsensusTeacher, HtsatBartTeacher, TaggerTeacher

    if checkpoint is not None and tagger is captioner is captions is None:
        beside = checkpoint.parent / "vocab.json"
        return HtsatBartTeacher.load(checkpoint, vocabulary or beside)
    if tagger is not None and captioner is not None and checkpoint is captions is vocabulary is None:
        return TaggerTeacher.load(tagger, captioner)
    if tagger is not None and captions is not None and checkpoint is captioner is vocabulary is None:
        return ConsensusTeacher.load(tagger, captions)
    raise ConfigError(
        "name one teacher: --checkpoint (HTSAT-BART; with --vocabulary), or --tagger with --captioner, "
        "or --tagger with --captions"
    )
