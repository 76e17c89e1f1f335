"""Journals, and what others publish at the broker."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecap.archive_search.search import open_source
from edgecap.live.config.mqtt_config import MqttConfig
from edgecap.live.sinks.broker import Broker
from edgecap.live.sinks.broker_client import Happened
from edgecap.live.sinks.homeassistant import is_own
from edgecap.live.sinks.journal import COLUMNS, INSERT, Journal
from edgecap.util.files import to_json
from edgecap.web.events.search import JournalReader, Query
from edgecap.web.events.tables import csv_rows
from fuzz.entries.archives import questions
from fuzz.targets import Opened
from support.live_parts import Messages, ignore, notifier
from support.ports import refusing_port
from support.web_parts import change


@contextmanager
def journal(folder: Path) -> Iterator[Opened]:
    """A damaged or strange journal is written on, put aside or refused, and read by the page."""
    path = folder / "events.db"
    messages: Messages = []

    def record() -> None:
        stored = Journal(str(path), "30d", notifier(messages), model="tiny")
        try:
            stored.on_event(change("begin", 1, "a dog barks"))
            stored.on_event(change("end", 1, "a dog barks"))
        finally:
            stored.close()

    def run(data: bytes) -> None:
        for old in folder.iterdir():
            old.unlink()
        path.write_bytes(data)
        messages.clear()
        record()
        reader = JournalReader(str(path))
        assert [event.text for event in reader.newest(Query(), 1)] == ["a dog barks"], messages
        assert reader.days(Query())
        assert reader.sources()

    record()
    yield [path.read_bytes()], run


@contextmanager
def rows(folder: Path) -> Iterator[Opened]:
    """A journal with a row of any values that SQLite takes, as `edgecap search` and the page read it."""
    path = folder / "events.db"
    stored = Journal(str(path), "30d", ignore, model="tiny")
    stored.on_event(change("end", 1, "a dog barks"))
    stored.close()
    database = sqlite3.connect(path, isolation_level=None)
    good = [*database.execute(f"SELECT {', '.join(COLUMNS)} FROM events").fetchone()]
    reader = JournalReader(str(path))

    def run(data: bytes) -> None:
        try:
            row = [*json.loads(data), *good][: len(good)]
            database.execute("DELETE FROM events")
            database.execute(INSERT, row)
        except (ValueError, TypeError, RecursionError, OverflowError, sqlite3.Error):  # nothing for a table
            return
        with open_source(str(path)) as source:
            questions(source)
        read = reader.newest(Query(), 5)
        for event in read:
            to_json(event.document())
        csv_rows(read)
        reader.days(Query())
        reader.hours(Query())
        reader.sources()

    named = json.dumps([{"name": "bell", "identifier": "bell", "confidence": 0.9}])
    seeds = [good, [named if name == "sounds" else value for name, value in zip(COLUMNS, good, strict=True)]]
    yield [json.dumps(each).encode() for each in seeds], run
    database.close()


@contextmanager
def mqtt(_folder: Path) -> Iterator[Opened]:
    """What others publish under the listener's topics."""
    with refusing_port() as port:
        broker = Broker(MqttConfig(host="127.0.0.1", port=port), ignore, base="edgecap/x", client_id="x", is_own=is_own)

        def run(data: bytes) -> None:
            for topic in ("edgecap/x/start", "edgecap/x/caption", "homeassistant/device/x/state"):
                broker._link.happened.put(Happened("received", topic=topic, payload=data))
            broker.step()

        yield [b'{"client": "y", "host": "hall"}', b'{"state": "a dog"}', b'{"level_dbfs": -20.0}'], run
        broker._link.stop()
