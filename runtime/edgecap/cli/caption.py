"""`edgecap caption`: sound files to sentences."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from edgecap.audio.file import AudioFile
from edgecap.caption import Caption
from edgecap.captioner import Captioner
from edgecap.cli.console import clock, printable, say, write
from edgecap.cli.options import BeamSize, Json, Model, Threads, WindowLength
from edgecap.errors import AudioError
from edgecap.util.files import to_json
from edgecap.util.progress import progress_bar

LONG_WORK = 4
"""Number of windows or files from which a progress bar is shown."""


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
    """Caption sound files.

    They may have any sample rate, number of channels and length. One short file prints just its sentence. A file of
    several windows prints "START-END  SENTENCE" for each, and several files put "FILE: " before it. A silent window is
    captioned "silence" without running the model. The rest at the end of a long file is captioned from 1 s.

    A file that cannot be used is reported on standard error; the others are still captioned, and the exit code is 3.

    \b
    Examples:
      edgecap caption rain.wav
      edgecap caption --window 5 --hop 2.5 walk.flac
      edgecap caption --json *.mp3 > captions.jsonl
      ffmpeg -i film.mkv -f wav - | edgecap caption -
    """
    captioner = Captioner.load(model, threads=threads)
    try:
        captioner.check_windows(window=window, hop=hop)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    failure: AudioError | None = None
    long = len(files) >= LONG_WORK
    with progress_bar() as bar:
        for number, file in enumerate(files):
            try:
                with AudioFile(file) as sound:
                    expected = captioner.windows(sound.duration or 0.0, window=window, hop=hop)
                    long |= expected >= LONG_WORK
                    show = _renderer(captioner.manifest.name, file, json, named=len(files) > 1, timed=expected != 1)
                    captions = captioner.caption_file(sound, window=window, hop=hop, beam=beam)
                    for done, result in enumerate(captions, start=1):
                        padded = result.end - result.start < captioner.shortest
                        with bar.hidden(padded or sys.stdout.isatty()):
                            write(show(result))
                            if padded:
                                say("note", _padding(captioner, sound.name, result))
                        if long:
                            bar(number + done / max(done, expected), len(files), printable(file))
            except AudioError as error:
                failure = error
                with bar.hidden():
                    say("error", str(error))
    if failure:
        raise typer.Exit(failure.exit_code)


def _padding(captioner: Captioner, name: str, caption: Caption) -> str:
    seconds, shortest = caption.end - caption.start, captioner.shortest
    return f"{name} has only {seconds:.3f} s and was padded to {shortest:.2f} s; do not rely on its caption"


def _renderer(model: str, file: str, json: bool, *, named: bool, timed: bool) -> Callable[[Caption], str]:
    """The function that turns a caption of one file into a line of output."""
    if json:
        return lambda caption: to_json(caption.document(file=file, model=model))
    prefix = f"{printable(file)}: " if named else ""
    return lambda caption: prefix + line(caption, timed=timed)


def line(caption: Caption, *, timed: bool) -> str:
    """A caption as text, with its times where `timed`."""
    return f"{clock(caption.start)}-{clock(caption.end)}  {caption.text}" if timed else caption.text
