"""Sound files to sentences on standard output: the work of `edgecap caption`.

Most command lines have no option, or one or two with a plain value. They are read here: Typer, with what it loads,
would take a third of the time of the first caption. Every other line, wrong ones among them, goes to Typer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from edgecap.audio.file import AudioFile, name_of
from edgecap.caption import Caption
from edgecap.captioner import Captioner
from edgecap.cli.console import clock, say, write
from edgecap.errors import AudioError, BundleError
from edgecap.teaching.own import with_own_sounds
from edgecap.util.files import to_json
from edgecap.util.limits import LARGEST_BEAM
from edgecap.util.progress import progress_bar
from edgecap.util.text import clean

LONG_WORK = 4
"""Number of windows or files from which a progress bar is shown."""
_OPTIONS = {"--model": "model", "-m": "model", "--beam": "beam", "-b": "beam", "--threads": "threads", "-t": "threads"}
_HIGHEST = {"beam": LARGEST_BEAM, "threads": 1 << 10}


def plain_arguments(arguments: Sequence[str]) -> dict[str, Any] | None:
    """The arguments of `caption_files` for a plain command line behind "edgecap caption"; None for any other."""
    files: list[str] = []
    options: dict[str, Any] = {}
    rest = iter(arguments)
    for word in rest:
        if word == "-" or not word.startswith("-"):
            files.append(word)
        elif word == "--json":
            options["json"] = True
        else:
            name, value = _OPTIONS.get(word), next(rest, "-")
            if name is None or value.startswith("-"):
                return None
            options[name] = value
            if name in _HIGHEST:
                if not (value.isascii() and value.isdecimal() and 1 <= int(value) <= _HIGHEST[name]):
                    return None
                options[name] = int(value)
    return {"files": files, **options} if files else None


def caption_files(
    files: Sequence[str],
    *,
    json: bool = False,
    beam: int | None = None,
    window: float | None = None,
    hop: float | None = None,
    min_confidence: float = 0.0,
    model: str | None = None,
    threads: int | None = None,
) -> None:
    """Caption files as `edgecap caption --help` says.

    Raises BadParameter for a window or a hop out of range, SystemExit with the exit code where a file cannot be used.
    """
    captioner = with_own_sounds(Captioner.load(model, threads=threads), say)
    try:
        captioner.check_windows(window=window, hop=hop)
    except ValueError as error:
        from typer import BadParameter

        raise BadParameter(str(error)) from error
    if min_confidence and captioner.bundle.confidence is None:
        name = captioner.manifest.name
        raise BundleError(
            f"{name} does not know how probable its captions are, so --min-confidence cannot be kept; leave it out, or "
            "fit the bundle with edgecap train confidence"
        )
    failure: AudioError | None = None
    long, last, done = len(files) >= LONG_WORK, 0, 0
    steps = _captions(captioner, files, {"window": window, "hop": hop, "beam": beam})
    with closing(steps), progress_bar() as bar:
        for number, step, duration in steps:
            if isinstance(step, AudioError):
                failure = step
                with bar.hidden():
                    say("error", str(step))
                continue
            done, last = done + 1 if number == last else 1, number
            file, expected = files[number], captioner.windows(duration or 0.0, window=window, hop=hop)
            long |= expected >= LONG_WORK
            show = _renderer(captioner.manifest.name, file, json, named=len(files) > 1, timed=expected != 1)
            result = replace(step, text=step.said(min_confidence))
            padded = result.end - result.start < captioner.shortest
            with bar.hidden(padded or sys.stdout.isatty()):
                write(show(result))
                if padded:
                    say("note", _padding(captioner, name_of(file), result))
            if long:
                bar(number + done / max(done, expected), len(files), clean(file))
    if failure:
        raise SystemExit(failure.exit_code)


def _captions(
    captioner: Captioner, files: Sequence[str], options: dict[str, Any]
) -> Generator[tuple[int, Caption | AudioError, float | None], None, None]:
    """Number of a file, a caption of it or why it cannot be read (further), and the seconds that it says it has."""
    if len(files) == 1:  # the first caption comes sooner without a thread and what that needs
        try:
            with AudioFile(files[0]) as sound:
                duration = sound.duration
                for caption in captioner.caption_file(sound, **options):
                    yield 0, caption, duration
        except AudioError as error:
            yield 0, error, None
        return
    from edgecap.batching import BatchCaptioner, CaptionedWindow

    for step in BatchCaptioner(captioner).caption_windows(enumerate(files), **options):
        if isinstance(step, CaptionedWindow):
            yield step.key, step.caption, step.duration
        elif step.fault is not None:
            yield step.key, step.fault, None


def _padding(captioner: Captioner, name: str, caption: Caption) -> str:
    seconds, shortest = caption.end - caption.start, captioner.shortest
    return f"{name} has only {seconds:.3f} s and was padded to {shortest:.2f} s; do not rely on its caption"


def _renderer(model: str, file: str, json: bool, *, named: bool, timed: bool) -> Callable[[Caption], str]:
    """The function that turns a caption of one file into a line of output."""
    if json:
        return lambda caption: to_json(caption.document(file=file, model=model))
    prefix = f"{clean(file)}: " if named else ""
    return lambda caption: prefix + line(caption, timed=timed)


def line(caption: Caption, *, timed: bool) -> str:
    """A caption as text, with its times where `timed`."""
    return f"{clock(caption.start)}-{clock(caption.end)}  {caption.text}" if timed else caption.text
