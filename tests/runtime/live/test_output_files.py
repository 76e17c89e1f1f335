"""Files of events through what happens to them: rotated, removed, emptied, saved by a spreadsheet, damaged, locked."""

from __future__ import annotations

import codecs
import csv
import io
import os
import sqlite3
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecap.cli.console import RedirectedOutput, write
from edgecap.errors import OutputError
from edgecap.live.config.config_file import load_config
from edgecap.live.config.config_text import render_config
from edgecap.live.sinks import files
from edgecap.live.sinks.base import Sink
from edgecap.live.sinks.files import TextFile
from edgecap.live.sinks.journal import Journal
from edgecap.types import Notify
from edgecap.util.text import clean
from support.live_parts import Clock, Messages, change, ignore, notifier, usb_status


def journal(path: Path, messages: Messages, clock: Clock | None = None) -> Journal:
    clock = clock or Clock()
    return Journal(str(path), "30d", notifier(messages), model="tiny", wall=clock, clock=clock)


def texts(path: Path) -> list[str]:
    """Captions in a journal."""
    database = sqlite3.connect(path)
    stored = [text for (text,) in database.execute("SELECT text FROM events ORDER BY id")]
    database.close()
    return stored


def table(path: Path) -> list[str]:
    """Captions in a table, which has complete rows only."""
    rows = [*csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))]
    assert all(None not in row and None not in row.values() for row in rows)
    return [row["text"] for row in rows]


def cues(path: Path) -> list[str]:
    """Captions in subtitles."""
    blocks = [block.splitlines() for block in path.read_text().strip().split("\n\n") if "-->" in block]
    return [lines[-1] for lines in blocks]


Reader = Callable[[Path], list[str]]
Open = Callable[[str, Notify], TextFile]
TEXT_FILES = [(files.table, table, "a.csv"), (files.srt, cues, "a.srt"), (files.vtt, cues, "a.vtt")]


@pytest.mark.parametrize(("open_file", "read", "name"), TEXT_FILES)
def test_a_text_file_that_is_rotated_or_removed_is_followed_by_a_new_one(
    open_file: Open, read: Reader, name: str, tmp_path: Path
) -> None:
    messages, path = Messages(), tmp_path / name
    sink = open_file(str(path), notifier(messages))
    sink.on_event(change(number=1, text="one"))
    path.rename(tmp_path / "old")
    sink.on_event(change(number=2, text="two"))
    path.unlink()
    sink.on_event(change(number=3, text="three"))
    sink.close()
    assert (read(tmp_path / "old"), read(path)) == (["one"], ["three"])
    assert [text.split("; ")[0] for _, text in messages] == 2 * [f"{path} was moved or removed"]


@pytest.mark.parametrize(("open_file", "read", "name"), TEXT_FILES)
def test_a_text_file_that_is_emptied_goes_on_from_its_beginning(
    open_file: Open, read: Reader, name: str, tmp_path: Path
) -> None:
    messages, path = Messages(), tmp_path / name
    sink = open_file(str(path), notifier(messages))
    sink.on_event(change(number=1, text="one"))
    os.truncate(path, 0)
    sink.on_event(change(number=2, text="two"))
    sink.close()
    assert read(path) == ["two"]
    assert b"\0" not in path.read_bytes()
    assert [text.split("; ")[0] for _, text in messages] == [f"{path} was emptied or cut"]


@pytest.mark.parametrize(
    "save",
    [
        lambda data: codecs.BOM_UTF8 + data.removeprefix(codecs.BOM_UTF8).replace(b"\r", b"").replace(b"\n", b"\r\n"),
        lambda data: data.rstrip(b"\n"),
        lambda data: data[:-20],
        lambda data: data.replace(b"began,ended", b'"began","ended"'),
    ],
    ids=["BOM and CRLF", "no last line end", "torn", "quotes"],
)
def test_a_table_that_was_saved_by_another_program_or_torn_gets_complete_rows(
    save: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    for number, text in ((1, "one"), (2, "two")):  # at the start
        sink = files.table(str(path), ignore)
        sink.on_event(change(number=number, text=text))
        sink.close()
        path.write_bytes(save(path.read_bytes()))
    sink = files.table(str(path), ignore)
    path.write_bytes(save(path.read_bytes()))  # and while it is open
    sink.on_event(change(number=3, text="three"))
    sink.close()
    lines = path.read_bytes().decode("utf-8-sig").splitlines()
    assert next(csv.reader([lines[-1]]))[4:] == ["three", "-0.4567", "-12.3", "2", "USB", "", "0.633"]


@pytest.mark.parametrize("kept", [1, 40, -1])
@pytest.mark.parametrize("restarted", [True, False])
def test_a_table_whose_head_was_torn_begins_anew(kept: int, restarted: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    sink = files.table(str(path), ignore)
    head = path.read_bytes()
    path.write_bytes(head[:kept])
    if restarted:
        sink.close()
        sink = files.table(str(path), ignore)
    sink.on_event(change(text="one"))
    sink.close()
    assert path.read_bytes().startswith(head)
    assert table(path) == ["one"]
    files.table(str(path), ignore).close()


@pytest.mark.parametrize("name", ["a.csv", "a.srt", "a.vtt", "a.db"])
def test_only_the_owner_may_read_a_new_file_of_events(name: str, tmp_path: Path) -> None:
    makers: dict[str, Callable[[], Sink]] = {
        "csv": lambda: files.table(str(tmp_path / name), ignore),
        "srt": lambda: files.srt(str(tmp_path / name), ignore),
        "vtt": lambda: files.vtt(str(tmp_path / name), ignore),
        "db": lambda: journal(tmp_path / name, Messages()),
    }
    sink = makers[name[2:]]()
    sink.on_event(change())
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    sink.close()


def test_text_from_outside_forges_no_cue_no_line_and_no_formula(tmp_path: Path) -> None:
    bad = "=cmd|'/c calc'!A1\n\n2\n00:00:00,000 --> 09:00:00,000\x1b[31mforged\u2028\ud800"
    for open_file, name in ((files.srt, "a.srt"), (files.vtt, "a.vtt"), (files.table, "a.csv")):
        sink = open_file(str(tmp_path / name), ignore)
        sink.on_event(change(text=bad))
        sink.close()
    assert len((tmp_path / "a.srt").read_text().splitlines()) == 4
    assert "\x1b" not in (tmp_path / "a.vtt").read_text()
    (text,) = table(tmp_path / "a.csv")
    assert text.startswith("'=cmd")
    assert clean("a\x1b[2Jb\r\nc\udcff") == "a\\x1b[2Jb c\\udcff"
    assert clean("une fête, 犬") == "une fête, 犬"


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "zeros":
        data[:] = bytes(len(data))
    elif how == "header":
        data[:100] = os.urandom(100)
    elif how == "cut":
        del data[len(data) // 2 :]
    elif how == "words":  # SQLite's message quotes them
        data = bytearray(data.replace(b"tableevents", b"table\x80vents").replace(b"CREATE TABLE", b"CREATE TABLX"))
    else:
        data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


def filled(path: Path) -> None:
    """A journal of some hundred pages."""
    sink = journal(path, Messages())
    for number in range(200):
        sink.on_event(change("end", number, text=f"event {number} {'x' * 200}"))
    sink.close()


@pytest.mark.parametrize("how", ["zeros", "header", "cut", "middle", "words"])
def test_a_damaged_journal_is_put_aside_and_a_new_one_begun(how: str, tmp_path: Path) -> None:
    path, messages = tmp_path / "events.db", Messages()
    filled(path)
    damage(path, how)
    sink = journal(path, messages)
    sink.on_event(change("end", 500, text="after"))
    sink.close()
    (aside,) = tmp_path.glob("events.db.damaged-*")
    assert texts(path) == ["after"]
    assert len(messages) == 1
    assert f"was put aside as {aside.name}; a new one is begun" in messages[0][1]


@pytest.mark.parametrize("how", ["zeros", "header", "cut", "middle", "words"])
def test_a_journal_that_is_damaged_while_it_is_open_ends_no_listener(how: str, tmp_path: Path) -> None:
    path, messages, clock = tmp_path / "events.db", Messages(), Clock()
    filled(path)
    sink = journal(path, messages, clock)
    damage(path, how)
    sink.on_event(change("end", 500, text="after"))
    sink.close()
    clock.sleep(5.0)
    again = journal(path, messages, clock)
    again.on_event(change("end", 501, text="later"))
    again.close()
    assert texts(path)[-1] == "later"
    assert all("put aside" in text for _, text in messages)


@pytest.mark.parametrize("how", ["moved", "removed", "emptied"])
def test_a_journal_that_is_moved_removed_or_emptied_is_followed_by_a_new_one(how: str, tmp_path: Path) -> None:
    path, messages = tmp_path / "events.db", Messages()
    sink = journal(path, messages)
    sink.on_event(change("end", 1, text="one"))
    sink.on_event(change("begin", 2, text="two"))
    if how == "moved":
        path.rename(tmp_path / "old.db")
    elif how == "removed":
        path.unlink()
    else:
        os.truncate(path, 0)
    sink.on_event(change("end", 2, text="two"))
    sink.on_event(change("end", 3, text="three"))
    sink.close()
    assert texts(path) == ["two", "three"]
    if how == "moved":
        assert texts(tmp_path / "old.db") == ["one", "two"]
    assert [text.split("; ")[-1] for _, text in messages] == ["a new one is begun"]


def test_a_locked_journal_holds_up_nothing_and_the_message_names_the_lock(tmp_path: Path) -> None:
    path, messages, clock = tmp_path / "events.db", Messages(), Clock()
    sink = journal(path, messages, clock)
    assert sink._database.execute("PRAGMA busy_timeout").fetchone() <= (100,)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in range(3):
        sink.on_event(change("end", number, text=f"event {number}"))
    other.execute("ROLLBACK")
    other.close()
    clock.sleep(2.0)
    sink.on_status(usb_status())  # without another event
    assert texts(path) == ["event 0", "event 1", "event 2"]
    assert [kind for kind, _ in messages] == ["warning", "note"]
    assert "another program is writing to it" in messages[0][1]
    assert "free space" not in messages[0][1]
    sink.close()


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_journal_that_is_locked_at_the_start_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str, mode: str
) -> None:
    path, messages, clock = tmp_path / "events.db", Messages(), Clock()
    monkeypatch.setattr("edgecap.live.sinks.journal.OPEN_SECONDS", 0.05)
    killed = journal(path, messages, clock)
    killed.on_event(change("begin", 1, text="left open"))
    killed.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(f"PRAGMA journal_mode = {mode}")
    other.execute(f"BEGIN {lock}")
    sink = journal(path, messages, clock)
    assert [kind for kind, _ in messages] == ["warning"]
    assert "another program is writing to it: end that; until then events wait in memory" in messages[0][1]
    for item in (change("begin", 1), change("end", 1), change("begin", 2, text="rain")):
        sink.on_event(item)
        clock.sleep(2.0)
        sink.on_status(usb_status())
    other.execute("ROLLBACK")
    other.close()
    clock.sleep(2.0)
    sink.on_status(usb_status())  # without another event
    assert texts(path) == ["left open", "a dog barks", "rain"]
    assert [kind for kind, _ in messages] == ["warning", "note"]
    sink.on_event(change("end", 2, text="rain"))
    sink.close()
    database = sqlite3.connect(path)
    assert database.execute("SELECT open FROM events").fetchall() == [(0,), (0,), (0,)]
    database.close()


def test_a_journal_that_stays_locked_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, messages, clock = tmp_path / "events.db", Messages(), Clock()
    monkeypatch.setattr("edgecap.live.sinks.journal.OPEN_SECONDS", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    sink = journal(path, messages, clock)
    sink.on_event(change("end", 1))
    sink.close()
    other.close()
    assert messages[-1] == ("warning", f"the journal {path} lacks 1 events")


def test_the_log_of_a_journal_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    sink = journal(path, Messages())
    sink._database.execute("PRAGMA synchronous = OFF")  # only the size is looked at
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()  # holds the log
    for number in range(400):
        sink.on_event(change("end", number, text="x" * 8000))
    log = tmp_path / "events.db-wal"
    assert log.stat().st_size > 2 << 20
    reader.execute("COMMIT")
    reader.close()
    for number in range(2):
        sink.on_event(change("end", number))
    assert log.stat().st_size <= 1 << 20
    sink.close()


def test_a_file_that_was_never_a_journal_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0" + os.urandom(5000))
    with pytest.raises(OutputError, match=r"file is not a database\); name another file"):
        journal(path, Messages())
    assert [item.name for item in tmp_path.iterdir()] == ["photo.jpg"]


def test_standard_output_that_is_emptied_has_no_hole_and_one_that_is_removed_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "events.json"
    with path.open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        output = RedirectedOutput()
        write("one")
        os.truncate(path, 0)
        write("two")
        output.check()
        assert path.read_bytes() == b"two\n"
        path.unlink()
        for _ in range(2):
            output.check()
        monkeypatch.undo()
    assert capsys.readouterr().err.count("the file of standard output was removed") == 1


def test_the_printed_configuration_hides_passwords_and_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        '[output]\nwebhook = "https://house/hook/SECRET"\n[mqtt]\nhost = "b"\nuser = "u"\npassword = "SECRET"\n'
        '[web]\ntoken = "SECRET-SECRET"\n'
    )
    config = load_config(path)
    shown = render_config(config, secrets=False)
    assert "SECRET" not in shown
    assert shown.count("(hidden: write it here)") == 3
    path.write_text(shown)
    assert load_config(path).mqtt.host == "b"  # it can still be read
    path.write_text(render_config(config))
    assert load_config(path) == config
