"""The options of `edgecap caption`; `edgecap.cli.caption_files` does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecap.cli.caption_files import caption_files
from edgecap.cli.options import BeamSize, Json, Model, Threads, WindowLength


def caption(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="wav, flac, ogg, opus, mp3; others with PyAV or ffmpeg; - is standard input."
        ),
    ],
    *,
    json: Json = False,
    beam: BeamSize = None,
    window: WindowLength = None,
    hop: Annotated[
        float | None,
        typer.Option("--hop", metavar="SECONDS", help="Seconds from one window to the next. [default: --window]"),
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            "--min-confidence",
            metavar="P",
            min=0.0,
            max=1.0,
            help="Say something broader, as that an animal is heard, where the caption is less probable. [default: 0]",
        ),
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
    caption_files(
        files,
        json=json,
        beam=beam,
        window=window,
        hop=hop,
        min_confidence=min_confidence or 0.0,
        model=model,
        threads=threads,
    )
