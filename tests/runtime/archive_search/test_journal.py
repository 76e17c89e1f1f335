"""The journal of a listener is searched as an archive is, while the listener writes it too."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecap.archive_search.conditions import Conditions
from edgecap.archive_search.search import Searcher, open_source
from edgecap.archive_search.summary import summarise
from edgecap.errors import ConfigError, DataError
from edgecap.live.events.describe import HeardSound
from edgecap.live.events.event import Change
from edgecap.live.sinks.journal import APPLICATION, VERSION, Journal
from edgecap.web.events.search import JournalReader, Query
from support.live_parts import ignore
from support.web_parts import STARTED, change


def event(number: int, said: str, *sounds: str, source: str = "Kitchen", probability: float | None = None) -> Change:
    """An event that is over, `number` hours after the tests began."""
    made = change("end", number, said, began=STARTED + 3600 * number, source=source)
    heard = tuple(HeardSound(name, name.replace(" ", "-"), 0.9, 0.0, 1.0) for name in sounds)
    return replace(made, event=replace(made.event, sounds=heard, probability=probability))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A journal with four events, which a listener still writes."""
    journal = Journal(str(tmp_path / "events.db"), "30d", ignore, model="tiny")
    journal.on_event(event(0, "a dog barks", probability=0.9))
    journal.on_event(event(1, "dogs are barking", source="Garden"))
    journal.on_event(event(2, "an alarm beeps", "smoke alarm", 'our "bell"', probability=0.3))
    journal.on_event(event(3, "rain falls", source="Garden"))
    yield journal
    journal.close()


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "events.db")


def said(place: str, words: str | None = None, **more: Any) -> list[str]:
    conditions = Conditions(**more)
    with open_source(place) as source:
        searcher = Searcher(source)
        results = searcher.newest(conditions, 10) if words is None else searcher.by_words(words, conditions, 10)
    return [hit.caption for hit in results.hits]


@pytest.mark.usefixtures("journal")
def test_events_are_found_by_words_and_conditions(place: str) -> None:
    assert said(place, "dog barking") == ["a dog barks", "dogs are barking"]
    assert said(place) == ["rain falls", "an alarm beeps", "dogs are barking", "a dog barks"]
    assert said(place, source="Gard*") == ["rain falls", "dogs are barking"]
    assert said(place, tag='our "bell"') == ["an alarm beeps"]
    assert said(place, tag="alarm") == []
    assert said(place, min_confidence=0.6) == ["rain falls", "dogs are barking", "a dog barks"]
    assert said(place, since=STARTED + 3600, until=STARTED + 7200) == ["dogs are barking"]


def test_what_the_listener_writes_between_two_searches_is_found_and_no_writer_keeps_a_search_waiting(
    journal: Journal, place: str
) -> None:
    with closing(sqlite3.connect(place, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert said(place, "thunder") == []
        writer.execute("ROLLBACK")
    journal.on_event(event(4, "thunder rolls"))
    assert said(place, "thunder") == ["thunder rolls"]


def test_a_search_changes_nothing(journal: Journal, place: str, tmp_path: Path) -> None:
    journal.close()
    before = Path(place).read_bytes()
    assert said(place, "rain") == ["rain falls"]
    assert Path(place).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.suffix not in {".db-shm", ".db-wal"}] == ["events.db"]


@pytest.mark.usefixtures("journal")
def test_a_summary_counts_microphones_named_sounds_and_captions(place: str) -> None:
    with open_source(place) as source:
        summary = summarise(source, Conditions())
    assert (summary.unit, summary.heard, summary.silent, summary.undated, summary.captions) == ("event", 4, 0, 0, 4)
    assert [(one.name, one.count) for one in summary.places] == [("Garden", 2), ("Kitchen", 2)]
    assert [(one.name, one.count) for one in summary.tags] == [('our "bell"', 1), ("smoke alarm", 1)]
    assert sum(count for _, _, count in summary.hours) == 4
    assert summary.places[0].first == pytest.approx(STARTED + 3600)
    assert summary.places[0].last == pytest.approx(STARTED + 3 * 3600)


def test_a_journal_of_an_older_edgecap_is_searched(tmp_path: Path) -> None:
    place = tmp_path / "old.db"
    with closing(sqlite3.connect(place)) as database:
        database.executescript(f"""
            CREATE TABLE events (id INTEGER PRIMARY KEY, began REAL, ended REAL, start REAL, stop REAL, text TEXT,
                score REAL, level_dbfs REAL, updates INTEGER, open INTEGER, source TEXT, model TEXT);
            INSERT INTO events VALUES
                (1, {STARTED}, {STARTED}, 0, 1, 'a dog barks', -0.1, -20, 0, 0, 'Kitchen', 'tiny');
            PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};""")
    assert said(str(place), "dog", min_confidence=0.5) == ["a dog barks"]


def test_sounds_that_another_program_has_changed_are_left_out(journal: Journal, place: str) -> None:
    journal.close()
    with closing(sqlite3.connect(place)) as database, database:
        database.execute("UPDATE events SET sounds = 'no JSON'")
    assert said(place, "alarm") == ["an alarm beeps"]
    assert said(place, tag="smoke alarm") == []


@pytest.mark.parametrize(
    "change", ["began = 'soon'", "began = 9e99", "text = x'00ff'", "source = x'ff'", "score = 'good'", "start = 9e999"]
)
def test_a_row_that_no_listener_writes_is_left_out(journal: Journal, place: str, change: str) -> None:
    journal.close()
    with closing(sqlite3.connect(place)) as database, database:
        database.execute(f"UPDATE events SET {change} WHERE text = 'rain falls'")
    assert said(place) == ["an alarm beeps", "dogs are barking", "a dog barks"]
    assert [event.text for event in JournalReader(place).newest(Query(), 9)] == said(place)


def test_another_database_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE events (x)")
    with pytest.raises(DataError, match="is not a journal of this version"), open_source(str(other)):
        pass


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "only a header": lambda content: content[:100],
    "cut": lambda content: content[:5000],
    "overwritten": lambda content: content[:200] + bytes(8000),
    "not UTF-8": lambda content: content.replace(b"rain falls", b"rain \xff\xfe\xfd\xfc\xfb"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_journal_is_refused_in_one_line(journal: Journal, place: str, damage: str) -> None:
    journal.close()
    content = Path(place).read_bytes()
    Path(place).write_bytes(DAMAGES[damage](content))
    with pytest.raises(DataError, match=r"^the journal .* cannot be read \(.*\); try again.*$"):
        said(place, "rain")


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize("name", ["source", "tag"])
def test_what_is_typed_in_other_bytes_than_utf8_is_one_line(place: str, name: str) -> None:
    with pytest.raises(ConfigError, match=r"'hall\\udcff' is not UTF-8"):
        said(place, **{name: "hall\udcff"})
