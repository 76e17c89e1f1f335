"""`edgecap caption`: sound files to sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from edgecap.audio.file import AudioFile
from edgecap.caption import Caption
from edgecap.captioner import Captioner
from edgecap.cli.console import Bar, clock, printable
from edgecap.cli.options import BeamSize, Json, Model, Threads, WindowLength
from edgecap.errors import AudioError
from edgecap.util.files import to_json

LONG_WORK = 4
"""Windows or files from which on a progress bar is shown."""


def caption(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="wav, flac, ogg, opus or mp3; - is standard input.")
    ],
    *,
    json: Json = False,
    beam: BeamSize = None,
    window: WindowLength = None,
    hop: Annotated[
        float | None,
        typer.Option("--hop", metavar="SECONDS", help="Seconds from one window to the next. [default: --window]"),
    ] = None,
    model: Model = None,
    threads: Threads = None,
) -> None:
    """Say what is heard in sound files, of any rate, channels and length.

    One short file prints just its sentence. A file of several windows prints "START-END  SENTENCE" for each, and
    several files put "FILE: " before it. A silent window is captioned "silence" without asking the model. What is left
    at the end of a long file is captioned from 1 s on.

    A file that cannot be used gets a line on standard error; the others go on, and the exit code is 3.

    \b
    Examples:
      edgecap caption rain.wav
      edgecap caption --window 5 --hop 2.5 walk.flac
      edgecap caption --json *.mp3 > captions.jsonl
      ffmpeg -i film.mkv -f wav - | edgecap caption -
    """
    captioner = Captioner.load(model, threads=threads)
    try:
        captioner.windows(0.0, window=window, hop=hop)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    failure: AudioError | None = None
    with Bar(len(files), wanted=len(files) >= LONG_WORK) as bar:

        def one(number: int, file: str) -> None:
            """Caption one file and print what is found."""
            with AudioFile(file) as sound:
                expected = captioner.windows(sound.duration or 0.0, window=window, hop=hop)
                bar.at(number, file, wanted=expected >= LONG_WORK)
                show = _renderer(captioner.manifest.name, file, json, named=len(files) > 1, timed=expected != 1)
                for done, found in enumerate(captioner.caption_file(sound, window=window, hop=hop, beam=beam), start=1):
                    bar.write(show(found))
                    bar.at(number + done / max(done, expected), file)
                    if found.end - found.start < captioner.shortest:
                        bar.say(
                            "note",
                            f"{sound.name} has only {found.end - found.start:.3f} s and was padded to "
                            f"{captioner.shortest:.2f} s; its caption says little",
                        )

        for number, file in enumerate(files):
            try:
                one(number, file)
            except AudioError as error:
                failure = error
                bar.say("error", str(error))
    if failure:
        raise typer.Exit(failure.exit_code)


def _renderer(model: str, file: str, json: bool, *, named: bool, timed: bool) -> Callable[[Caption], str]:
    """How the captions of one file are printed."""
    if json:
        return lambda caption: to_json(caption.document(file=file, model=model))
    prefix = f"{printable(file)}: " if named else ""
    return lambda caption: prefix + line(caption, timed=timed)


def line(caption: Caption, *, timed: bool) -> str:
    """A caption for people."""
    return f"{clock(caption.start)}-{clock(caption.end)}  {caption.text}" if timed else caption.text
