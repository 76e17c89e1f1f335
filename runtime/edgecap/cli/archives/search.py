"""`edgecap search`: questions to an archive or a journal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgecap.archive_search.conditions import Conditions
from edgecap.archive_search.playable import SoundPart, in_folder, in_sources
from edgecap.archive_search.search import Searcher, SearchResults, open_source
from edgecap.archive_search.source import Hit, Source, many, moment
from edgecap.cli.archives.options import (
    Archive,
    Hours,
    MinConfidence,
    MinLevel,
    Since,
    SourcePattern,
    Tag,
    Until,
    conditions,
)
from edgecap.cli.console import clock, say, table, write
from edgecap.cli.options import Json, Model, Threads
from edgecap.errors import ConfigError, NoHitsError
from edgecap.util.files import check_folder, check_writable, to_json, write_atomically

LIMIT, MOST = 20, 10_000


def search(
    out: Archive,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORDS]...", help='As "dog barking near water"; without, the newest.')
    ] = None,
    *,
    like: Annotated[
        Path | None,
        typer.Option("--like", metavar="CLIP", help="A sound file: windows that sound like it, nearest first."),
    ] = None,
    all_words: Annotated[
        bool, typer.Option("--all-words", help="Only captions that have every one of the words.")
    ] = False,
    since: Since = None,
    until: Until = None,
    hours: Hours = None,
    source: SourcePattern = None,
    min_confidence: MinConfidence = None,
    min_level: MinLevel = None,
    tag: Tag = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=MOST, metavar="N", help="Most hits.", show_default=True)
    ] = LIMIT,
    json: Json = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with players at the right second.")
    ] = None,
    export_clips: Annotated[
        Path | None, typer.Option("--export-clips", metavar="FOLDER", help="Write each hit as a wav file.")
    ] = None,
    kept: Annotated[
        Path | None,
        typer.Option("--kept", metavar="FOLDER", help="For a journal: where listen --keep-audio puts the sounds."),
    ] = None,
    model: Model = None,
    threads: Threads = None,
) -> None:
    """Search an archive, or a journal of edgecap listen.

    By words: captions with the most of the words come first, in any inflection (barking, barks), then those with the
    rarer ones. By sound: --like, of an archive, with the model that made it. All other options narrow either, and alone
    give the newest.

    The exit code is 0 where something was found, 14 where nothing was.

    \b
    Examples:
      edgecap search archive dog barking near water --since 7d --hours 22-5
      edgecap search archive --like siren.wav --limit 50 --html sirens.html
      edgecap search journal.sqlite --tag "smoke alarm" --json
      edgecap search archive owl --min-confidence 0.7 --export-clips owls
    """
    text = " ".join(words or ())
    if like is not None and all_words:
        raise ConfigError("--all-words is for a search by words alone; leave out --like or --all-words")
    if html is not None:
        check_writable(html)
    if export_clips is not None:
        check_folder(export_clips)
    wanted = conditions(
        since=since,
        until=until,
        hours=hours,
        source=source,
        min_confidence=min_confidence,
        min_level=min_level,
        tag=tag,
        silent=bool(text.strip()) and like is None,
    )
    with open_source(out) as place:
        if place.unit == "event" and export_clips is not None and kept is None:
            raise ConfigError("a journal holds no sounds; name the folder of --keep-audio by --kept")
        if place.unit == "window" and kept is not None:
            raise ConfigError("--kept is for a journal: the sounds of an archive are its sources; leave it out")
        if like is not None:
            results = _by_sound(place, like, wanted, limit, text, model=model, threads=threads)
        elif text.strip():
            results = Searcher(place).by_words(text, wanted, limit, need_all=all_words)
        else:
            results = Searcher(place).newest(wanted, limit)
        unit = place.unit
    sounds = in_sources(results.hits) if unit == "window" else in_folder(results.hits, kept)
    if html is not None:
        _page(html, text or (f"like {like}" if like else "the newest"), results, sounds, unit)
    if not results.hits:
        raise NoHitsError(f"nothing in {out} fits; use fewer or other words, or a longer time")
    write("\n".join(to_json(hit.document()) for hit in results.hits) if json else "\n".join(lines(results.hits)))
    if results.total > len(results.hits) and not json:
        say("note", f"{len(results.hits)} of {many(results.total, unit)}; --limit shows more")
    if export_clips is not None:
        _export(export_clips, sounds)


def lines(hits: Sequence[Hit]) -> list[str]:
    """A table for people."""
    by_sound = any(hit.similarity is not None for hit in hits)
    header = ["TIME", "SOURCE", "AT", "CAPTION", "CONFIDENCE", "LEVEL", *["LIKENESS"] * by_sound]
    rows = [
        [
            "" if hit.time is None else moment(hit.time)[:19].replace("T", " "),
            hit.source,
            clock(hit.start),
            hit.caption,
            "" if hit.confidence is None else f"{hit.confidence:.2f}",
            f"{hit.level:.1f}",
            *([] if hit.similarity is None else [f"{hit.similarity:.3f}"]),
        ]
        for hit in hits
    ]
    return table(header, rows)


def _by_sound(
    place: Source, like: Path, wanted: Conditions, limit: int, text: str, *, model: str | None, threads: int | None
) -> SearchResults:
    from edgecap.archive_search.like import SoundSearcher, captioner_of, clip_vector, needs_archive

    archive = needs_archive(place)
    vector = clip_vector(captioner_of(archive, model, threads), like)
    return SoundSearcher(archive, say).nearest(vector, wanted, limit, words=text.strip() or None)


def _page(path: Path, question: str, results: SearchResults, sounds: Sequence[SoundPart | None], unit: str) -> None:
    from edgecap.archive_search.results_page import results_page

    write_atomically(path, results_page(question, results, sounds, path, unit))
    say("note", f"the page is {path}")


def _export(folder: Path, sounds: Sequence[SoundPart | None]) -> None:
    """Write the clips; sources that cannot be read are reported, and the exit code is 3 then."""
    from edgecap.archive_search.clips import export_clips

    if not any(sounds):
        raise ConfigError("there are no sounds to export: none of these events was kept in the folder of --kept")
    code = 0
    for error in export_clips(sounds, folder):
        say("error", str(error))
        code = error.exit_code
    if code:
        raise typer.Exit(code)
