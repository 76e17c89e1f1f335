"""`edgecap archive`: captions of whole collections as Parquet."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from enum import StrEnum
from types import FrameType
from typing import Annotated, NoReturn

import typer

from edgecap.archive.job import ArchiveJob, ArchiveRun, ArchiveSummary
from edgecap.archive.plan import ShardSize
from edgecap.archive.settings import WantedOptions
from edgecap.archive.watch import Settling
from edgecap.cli.console import say, write
from edgecap.cli.options import BeamSize, Model, Threads, WindowLength
from edgecap.errors import AudioError, TableError
from edgecap.util.files import to_json
from edgecap.util.progress import ProgressBar, progress_bar


class EngineChoice(StrEnum):
    """What makes the shards."""

    LOCAL = "local"
    RAY = "ray"


class TimeFrom(StrEnum):
    """Where a recording's time is from."""

    NAME = "name"
    MODIFIED = "modified"


def archive(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...",
            help="Folders, sound files, patterns, .tar files, tables (.csv, .tsv, .parquet); paths, or addresses as "
            "s3://. Without any, those that OUT has.",
        ),
    ] = None,
    *,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="OUT", help="Folder of the archive, or an address such as s3://.")
    ],
    model: Model = None,
    window: WindowLength = None,
    hop: Annotated[
        float | None,
        typer.Option("--hop", metavar="SECONDS", help="Seconds from one window to the next. [default: --window]"),
    ] = None,
    beam: BeamSize = None,
    threads: Threads = None,
    column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of tables with the sounds. [default: source, path or file_name]"),
    ] = None,
    time_from: Annotated[
        TimeFrom | None,
        typer.Option(help="Time of a sound without a cell `time`: its name, or when it was changed. [default: name]"),
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Of times without a zone, as Europe/Berlin. [default: UTC]")
    ] = None,
    shard_files: Annotated[int, typer.Option(min=1, max=1_000_000, metavar="N", help="Most files of a shard.")] = 500,
    shard_size: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="MB", help="Most megabytes of the files of a shard.")
    ] = 500,
    engine: Annotated[
        EngineChoice | None,
        typer.Option(
            help="local is this process; ray uses all cores, or a cluster. [default: ray where it is installed and "
            "there are several shards to make; or EDGECAP_ENGINE]"
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=100_000, metavar="N", help="Processes of --engine ray.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A cluster for --engine ray, as ray://head:10001 or auto.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with files that come, until Ctrl-C or SIGTERM.")
    ] = False,
    settle: Annotated[
        float,
        typer.Option(
            min=0.1, max=86_400, metavar="SECONDS", help="With --watch: unchanged for so long, a file is whole."
        ),
    ] = 10.0,
    retry: Annotated[bool, typer.Option("--retry", help="Make shards again that have failures.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every value of the shards that are there, not their ends alone.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Caption whole collections of sound into Parquet files.

    The sounds are cut into shards. A shard's file appears whole or not at all, so a run that was ended in any way goes
    on where it was with the same command; new files of a folder become new shards. A sound that cannot be read is a
    row in OUT/failures and stops nothing; the exit code is 3 then.

    \b
    Examples:
      edgecap archive recordings -o captions
      edgecap archive "s3://reserve/2026-*/*.flac" -o s3://reserve-captions/2026
      edgecap archive clips.csv --column file -o captions --json
      edgecap archive /media/recorder -o captions --watch
    """
    if engine is EngineChoice.LOCAL and (workers or address):
        raise typer.BadParameter("--workers and --address need --engine ray")
    job = ArchiveJob(
        inputs=tuple(inputs or ()),
        out=out,
        model=model,
        options=WantedOptions(
            window=window, hop=hop, beam=beam, time_from=time_from.value if time_from else None, time_zone=time_zone
        ),
        column=column,
        size=ShardSize(shard_files, shard_size * 1_000_000),
        threads=threads,
        engine="ray" if workers or address else engine.value if engine else None,
        workers=workers,
        address=address,
        verify=verify,
        retry=retry,
    )
    before = signal.signal(signal.SIGTERM, _end)
    try:
        failures = _make(job, settle if watch else None, json)
    finally:
        signal.signal(signal.SIGTERM, before)
    if failures and not watch:
        raise SystemExit(AudioError.exit_code)


def _make(job: ArchiveJob, settle: float | None, json: bool) -> int:
    """Make the archive, or follow its inputs, and print the summary; the number of failures in it."""
    with progress_bar("captioning") as bar:
        try:
            run = ArchiveRun(job, say, bar)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        with run:
            if settle is None:
                run.step()
            else:
                _follow(run, settle, bar, json)
        with bar.hidden():
            _print(run.summary(), json)
    return run.summary().failures


def _follow(run: ArchiveRun, settle: float, bar: ProgressBar, json: bool) -> None:
    """Make shards of what comes, until a signal; a summary each time that something came.

    An input that goes away for a while, as a card or a share does, is said once and looked for again.
    """
    settling, made, trouble = Settling(settle), 0, ""
    looked = False
    with suppress(KeyboardInterrupt, _Ended):
        while True:
            try:
                run.step(settling)
                looked, trouble = True, ""
            except (AudioError, TableError) as error:
                if not looked:  # wrong from the start
                    raise
                if str(error) != trouble:
                    trouble = str(error)
                    with bar.hidden():
                        say("warning", f"{trouble}; it is looked for every {settle:g} s")
            if run.summary().made != made:
                made = run.summary().made
                with bar.hidden():
                    _print(run.summary(), json)
            time.sleep(settle)


def _print(summary: ArchiveSummary, json: bool) -> None:
    if json:
        write(to_json(summary.document()))
        return
    failed = f", {_many(summary.failures, 'failure')} in {summary.out}/failures" if summary.failures else ""
    added = f" ({summary.added:,} new)" if summary.added else ""
    write(
        f"{summary.out}: {_many(summary.captions, 'caption')} of {_many(summary.files, 'file')}{added} in "
        f"{_many(summary.shards, 'shard')}, {summary.made:,} made now{failed}"
    )


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


class _Ended(SystemExit):
    """SIGTERM: nothing is half-written, wherever the program is."""


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise _Ended(128 + number)
