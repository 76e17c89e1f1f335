"""Archives: their settings, their tables, and questions to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from edgecap.archive.finished import finished_shards
from edgecap.archive.schema import CAPTIONS, SETTINGS, ArchiveSettings, captions_schema, shard_name
from edgecap.archive.settings import read_settings
from edgecap.archive.store import open_store
from edgecap.archive.tables import table_bytes
from edgecap.archive_search.conditions import Conditions, parse_when
from edgecap.archive_search.embeddings import Embeddings
from edgecap.archive_search.parquet import ArchiveSource
from edgecap.archive_search.search import Searcher, open_source
from edgecap.archive_search.source import Source
from edgecap.archive_search.summary import summarise
from edgecap.archive_search.summary_page import summary_page
from edgecap.errors import EdgecapError
from edgecap.live.sinks.journal import Journal
from edgecap.util.files import to_json
from edgecap.util.parsing import parse_hours
from fuzz.targets import Opened, through
from support.archives.rows import MODEL, OPTIONS, Row, write_archive
from support.live_parts import ignore
from support.web_parts import change


@contextmanager
def settings(folder: Path) -> Iterator[Opened]:
    """`archive.json`."""
    good = ArchiveSettings(
        model=MODEL, options=OPTIONS, embedding_dim=8, inputs=["/recordings", "s3://bucket/recordings"]
    )
    store = open_store(str(folder))
    yield [good.to_json()], through(folder / SETTINGS, lambda: read_settings(store))


@contextmanager
def table(folder: Path) -> Iterator[Opened]:
    """A Parquet file that was damaged, or made by somebody else."""
    rows = [Row("a dog barks", time=1.76e9, tags=("dog",)), Row("rain falls", start=10.0, silent=True)]
    place = write_archive(folder / "archive", rows)
    store = open_store(str(place))
    known = read_settings(store)
    assert known is not None
    shard = place / CAPTIONS / shard_name(0)

    def read() -> None:
        finished_shards(store, known, [0], verify=True)
        with open_source(str(place)) as source:
            questions(source)

    yield [shard.read_bytes()], through(shard, read)


@contextmanager
def rows(folder: Path) -> Iterator[Opened]:
    """A row of any values that the columns take."""
    place = write_archive(folder / "archive", [Row("a dog barks")])
    shard = place / CAPTIONS / shard_name(0)
    schema = pa.schema([field.with_nullable(True) for field in captions_schema(8)])
    good: dict[str, object] = {
        "source": "/sounds/a.wav", "start": 0.0, "end": 10.0, "time": 1_760_000_000_000_000, "caption": "a dog barks",
        "confidence": 0.5, "score": -0.5, "tags": ["dog"], "beams": [], "level": -20.0, "silent": False, "shard": 0,
    }  # fmt: skip

    def run(data: bytes) -> None:
        try:
            row = {**good, **json.loads(data)}
            shard.write_bytes(table_bytes(pa.Table.from_pylist([row, good], schema=schema)))
        except (ValueError, TypeError, RecursionError, OverflowError, pa.ArrowException):  # nothing for a table
            return
        with open_source(str(place)) as source:
            questions(source)

    yield [json.dumps(good).encode(), b'{"start": NaN, "time": null, "level": Infinity, "tags": [null]}'], run


@contextmanager
def search(folder: Path) -> Iterator[Opened]:
    """What is typed behind `edgecap search` and `summary`: as words, and as each of the conditions."""
    path = folder / "events.db"
    journal = Journal(str(path), "30d", ignore, model="tiny")
    for number, said in enumerate(("a dog barks", "rain falls", "a man speaks"), start=1):
        journal.on_event(change("end", number, said))
    journal.close()

    def run(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        for read in (parse_when, parse_hours):
            with suppress(EdgecapError):
                read(text)
        for wanted in (Conditions(source=text), Conditions(tag=text)):
            with suppress(EdgecapError):
                searcher.newest(wanted, 5)
        for need_all in (True, False):
            with suppress(EdgecapError):
                searcher.by_words(text, Conditions(hours=(22, 5)), 5, need_all=need_all)

    with open_source(str(path)) as source:
        searcher = Searcher(source)
        yield [b"dog barking near water", b"*mic?", b"2026-11-28T15:30+01:00", b"22-5", b"24h", b'"dog" OR NOT'], run


def questions(source: Source) -> None:
    """What `edgecap search` and `summary` ask and print."""
    searcher = Searcher(source)
    for results in (searcher.newest(Conditions(), 5), searcher.by_words("dogs", Conditions(hours=(22, 21)), 5)):
        for hit in results.hits:
            to_json(hit.document())
    summary = summarise(source, Conditions())
    to_json(summary.document())
    summary_page(summary, "A summary")
    if isinstance(source, ArchiveSource):
        Embeddings(source, ignore).matrix()
