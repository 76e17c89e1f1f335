"""Past events over real sockets: searched, counted, as a table, and their kept sounds."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgecap.errors import OutputError
from edgecap.live.events.event import Change, Event
from edgecap.live.sinks.journal import Journal
from edgecap.web.events import past as web_past
from edgecap.web.events.history import History
from edgecap.web.events.search import JournalReader, Query
from edgecap.web.page import LivePage
from support.live_parts import ignore
from support.signals import RATE
from support.web_parts import Recorder, Visitor, change

TOKEN = "correct-horse-battery"
Serve = Callable[..., tuple[LivePage, Visitor]]


@pytest.fixture(params=["memory", "journal"])
def store(request: pytest.FixtureRequest, tmp_path: Path, serve: Serve) -> Iterator[Callable[..., Visitor]]:
    """Serves a page with some events, in memory alone or in a journal."""
    path = tmp_path / "events.db" if request.param == "journal" else None
    sinks = [Journal(str(path), "9000d", ignore, model="tiny")] if path else []

    def fill(*events: Change) -> Visitor:
        page, ask = serve(path)
        for event in events:
            for sink in (*sinks, page):
                sink.on_event(event)
        return ask

    yield fill
    for sink in sinks:
        sink.close()


def at(day: int, hour: int) -> float:
    """Unix time of an hour of a day in November, here."""
    return datetime(2026, 11, day, hour).timestamp()


def scored(given: Change, score: float) -> Change:
    return replace(given, event=replace(given.event, score=score))


def past(ask: Visitor, query: str = "") -> list[str]:
    code, _, body = ask("GET", f"/past?{query}")
    assert code == 200, body
    return [event["text"] for event in json.loads(body)["events"]]


@pytest.mark.parametrize("kept", [False, True], ids=["memory", "journal"])
def test_past_events_are_found_by_their_words_newest_first(serve: Serve, tmp_path: Path, kept: bool) -> None:
    path = tmp_path / "events.db" if kept else None
    sinks = [Journal(str(path), "30d", ignore, model="tiny")] if path else []
    page, ask = serve(path)
    now = time.time()
    for number, said in enumerate(("A dog barks", "rain falls on 50% of the roof", "a dog_barks \\ twice", "cat")):
        for sink in (*sinks, page):
            sink.on_event(change("begin", number, said, began=now - 100 + number, source="USB"))
    assert past(ask) == ["cat", "a dog_barks \\ twice", "rain falls on 50% of the roof", "A dog barks"]
    assert past(ask, "words=DOG+barks") == ["a dog_barks \\ twice", "A dog barks"]
    assert past(ask, "words=dog_barks") == ["a dog_barks \\ twice"]
    assert past(ask, "words=50%25") == ["rain falls on 50% of the roof"]
    assert past(ask, "words=%5C") == ["a dog_barks \\ twice"]
    assert past(ask, f"words=dog&before={now - 99.5}") == ["A dog barks"]
    assert past(ask, "words='%20OR%201=1%20--") == []
    assert ask("GET", "/past?before=yesterday")[0] == 400
    event = json.loads(ask("GET", "/past?words=cat")[2])["events"][0]
    assert event | {"id": 0} == change("begin", 0, "cat", began=now - 97, source="USB").event.document(
        sound="", label=""
    )
    for sink in sinks:
        sink.close()


def test_events_of_earlier_runs_are_found_in_the_journal(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    journal = Journal(str(path), "30d", ignore, model="tiny")
    journal.on_event(change("begin", 1, "an owl hoots"))
    journal.close()
    _, ask = serve(path)
    assert past(ask, "words=owl") == ["an owl hoots"]


def test_a_journal_that_cannot_be_searched_is_told_and_is_not_made(serve: Serve, tmp_path: Path) -> None:
    _, ask = serve(tmp_path / "missing.db")
    code, _, body = ask("GET", "/past?words=dog")
    assert code == 503
    assert "cannot be searched" in json.loads(body)["error"]
    assert not (tmp_path / "missing.db").exists()


def test_a_search_never_writes_to_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE other (x)")
    database.close()
    before = path.read_bytes()
    with pytest.raises(OutputError):
        JournalReader(str(path)).newest(Query(words=("dog",)), 50)
    assert path.read_bytes() == before


def test_memory_holds_the_newest_events_only() -> None:
    history = History(most=3)
    for number in range(5):
        history.record(Event(number, 0, 1, number, number, f"event {number}", -0.5, -20.0, 0, True))
    assert [document["id"] for document in history.latest(10)] == [2, 3, 4]
    assert [event.id for event in history.newest(Query(), 10)] == [4, 3, 2]
    assert [event.id for event in history.next(Query(), 10, None)] == [2, 3, 4]
    assert [document["id"] for document in history.since(4) or []] == [4]


def test_events_are_filtered_by_day_microphone_and_confidence(store: Callable[..., Visitor]) -> None:
    ask = store(
        scored(change("end", 1, "a dog", began=at(23, 0), source="Kitchen"), -0.1),
        scored(change("end", 2, "rain", began=at(23, 23), source="Porch"), -0.8),
        change("end", 3, "a cat", began=at(24, 1), source="Kitchen"),
    )
    assert past(ask, "day=2026-11-23") == ["rain", "a dog"]
    assert past(ask, f"day=2026-11-23&before={at(23, 12)}") == ["a dog"]
    assert past(ask, "source=Kitchen") == ["a cat", "a dog"]
    assert past(ask, "confidence=0.9") == ["a dog"]
    assert past(ask, "confidence=0.4&source=Porch") == ["rain"]
    assert past(ask, "hours=23-24") == ["rain"]
    assert past(ask, "hours=22-2") == ["a cat", "rain", "a dog"]  # across midnight
    assert past(ask, "hours=22-2&day=2026-11-24") == ["a cat"]
    for wrong in (
        *("day=today", "day=2026-02-30", "confidence=2", "confidence=nan", "before=nan", "day=9999-12-31"),
        *("hours=24-3", "hours=3", "hours=-", "hours=1-25"),
    ):
        assert ask("GET", f"/past?{wrong}")[0] == 400
    overview = json.loads(ask("GET", "/overview")[2])
    assert overview == {"days": [["2026-11-24", 1], ["2026-11-23", 2]], "sources": ["Kitchen", "Porch"]}
    assert json.loads(ask("GET", "/overview?words=a&source=Kitchen")[2])["days"] == [
        ["2026-11-24", 1],
        ["2026-11-23", 1],
    ]


def test_events_are_counted_by_day_and_hour(store: Callable[..., Visitor]) -> None:
    ask = store(
        change("end", 1, "a dog", began=at(23, 7)),
        change("end", 2, "rain", began=at(23, 7) + 3599),
        change("end", 3, "a dog", began=at(23, 8)),
        change("end", 4, "a dog", began=at(24, 0)),
    )
    assert json.loads(ask("GET", "/hours")[2]) == {
        "hours": [["2026-11-24", 0, 1], ["2026-11-23", 7, 2], ["2026-11-23", 8, 1]]
    }
    assert json.loads(ask("GET", "/hours?words=rain")[2]) == {"hours": [["2026-11-23", 7, 1]]}


def test_a_table_holds_all_that_is_filtered_oldest_first(
    store: Callable[..., Visitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_past, "EXPORTED", 3)
    events = [change("end", n, f"=dog, {n}", began=at(23, 0) + n // 2) for n in range(1, 11)]
    ask = store(*events, change("end", 11, "rain"))
    code, headers, body = ask("GET", "/export?words=dog")
    assert (code, headers["content-disposition"]) == (200, 'attachment; filename="edgecap-events.csv"')
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    assert [row["text"] for row in rows] == [f"'=dog, {n}" for n in range(1, 11)]  # no formula
    assert rows[0]["began"] == events[0].event.document()["began"]
    assert len(ask("GET", "/export?words=owl")[2].splitlines()) == 1
    raven = csv.DictReader(io.StringIO(ask("GET", "/export?words=dog&as=raven")[2].decode()), delimiter="\t")
    selection = next(raven)
    assert (selection["Begin Time (s)"], selection["End Time (s)"]) == ("0.000000", "3.500000")
    assert (selection["Low Freq (Hz)"], selection["High Freq (Hz)"]) == ("0.0", str(RATE / 2))
    assert (selection["Selection"], selection["Annotation"], selection["Channel"]) == ("1", "=dog, 1", "1")
    labels = ask("GET", "/export?words=dog&as=labels")[2].decode().splitlines()
    assert labels == [f"0.000000\t3.500000\t=dog, {n}" for n in range(1, 11)]


def test_the_kept_sound_of_an_event_is_played_in_ranges(serve: Serve, tmp_path: Path) -> None:
    page, ask = serve(sounds=tmp_path)
    Recorder(page, tmp_path).event(1)
    (event,) = json.loads(ask("GET", "/past")[2])["events"]
    code, headers, body = ask("GET", f"/sound?name={event['sound']}")
    assert (code, headers["content-type"], headers["accept-ranges"]) == (200, "audio/flac", "bytes")
    assert "media-src 'self'" in headers["content-security-policy"]
    samples, rate = soundfile.read(io.BytesIO(body), dtype="float32")
    assert (rate, samples.size) == (RATE, 5 * RATE)
    assert np.abs(samples).max() > 0.01
    size = len(body)
    for asked, expected in (
        ("bytes=0-", body),
        ("bytes=0-99", body[:100]),
        (f"bytes=10-{size + 50}", body[10:]),
        ("bytes=-7", body[-7:]),
        (f"bytes=-{size + 7}", body),
    ):
        code, headers, part = ask("GET", f"/sound?name={event['sound']}", Range=asked)
        assert (code, part) == (206, expected)
        first = size - len(expected) if asked.startswith(("bytes=-", "bytes=10-")) else 0
        assert headers["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{size}"
    for odd in ("bytes=0-1,5-6", "bytes=-", "seconds=0-1", "bytes=a-b"):
        assert ask("GET", f"/sound?name={event['sound']}", Range=odd)[::2] == (200, body)
    for beyond in (f"bytes={size}-", "bytes=5-4", "bytes=-0"):
        code, headers, part = ask("GET", f"/sound?name={event['sound']}", Range=beyond)
        assert (code, headers["content-range"], part) == (416, f"bytes */{size}", b"")


def test_only_kept_sounds_are_given_and_only_to_who_may_see_the_page(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    page, ask = serve(sounds=folder, address="0.0.0.0:0", token=TOKEN)
    event = Recorder(page, folder).event(1)
    name = page._past.sound_of(event)
    assert name
    assert ask("GET", f"/sound?name={name}")[0] == 401
    secret = tmp_path / "20261123T044000-1-00000000.flac"
    secret.write_bytes(b"secret")
    (folder / "notes.txt").write_text("secret")
    (folder / "20261123T044000-2-00000000.flac").symlink_to(secret)
    (folder / "20261123T044000-3-00000000.flac").mkdir()
    os.mkfifo(folder / "20261123T044000-4-00000000.flac")
    (folder / ".20261123T044000-5-00000000.flac.part").write_bytes(b"unfinished")
    for other in (
        "notes.txt",
        secret.name,
        f"../{secret.name}",
        str(secret),
        f"{name}%00",
        f"{name}/",
        "",
        *(path.name for path in folder.iterdir() if path.name != name),
    ):
        code, _, body = ask("GET", f"/sound?name={other}", Authorization=f"Bearer {TOKEN}")
        assert (code, b"secret" in body) == (404, False)
    assert ask("GET", f"/sound?name={name}", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_sounds_of_earlier_runs_are_told_by_the_journal_for_the_right_microphone(serve: Serve, tmp_path: Path) -> None:
    path, folder, began = tmp_path / "events.db", tmp_path / "sounds", time.time() - 100
    journal = Journal(str(path), "30d", ignore, model="tiny")
    page, _ = serve(path, folder)
    recorder = Recorder(page, folder, journal)
    first = recorder.event(7, began=began, source="Kitchen")
    second = recorder.event(8, began=began, source="Porch")
    recorder.event(9, began=began + 20, source="Porch", ends=False)
    _, ask = serve(path, folder)
    events = json.loads(ask("GET", "/past")[2])["events"]
    names = {event["source"]: event["sound"] for event in events[1:]}
    assert names == {event.source: page._past.sound_of(event) for event in (first, second)}
    assert events[0]["sound"] == ""  # it is not complete
    for name in names.values():
        (folder / name).unlink()
    assert [event["sound"] for event in json.loads(ask("GET", "/past")[2])["events"]] == ["", "", ""]
    recorder.kept.close()
    journal.close()


def test_a_browser_is_told_of_a_sound_when_its_event_ends(serve: Serve, tmp_path: Path) -> None:
    page, _ = serve(sounds=tmp_path)
    event = Recorder(page, tmp_path).event(1)
    (latest,) = page._history.latest(1)
    assert latest["sound"] == page._past.sound_of(event)
    assert (tmp_path / latest["sound"]).is_file()
    quiet, ask = serve()
    quiet.on_event(change("end", 1, "a dog"))
    assert json.loads(ask("GET", "/past")[2])["events"][0]["sound"] == ""
    assert ask("GET", f"/sound?name={latest['sound']}")[0] == 404
