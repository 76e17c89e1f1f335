"""`edgecap search` and `edgecap summary`: what they print, write and return."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from edgecap.live.sinks.journal import Journal
from support.archives.parts import archived, short_sounds
from support.archives.rows import Row, write_archive
from support.live_parts import ignore
from support.web_parts import change

Run = Callable[..., subprocess.CompletedProcess[str]]
DAY = datetime(2026, 11, 27).timestamp()
ROWS = (
    Row("a dog barks", "/sounds/garden/a.wav", 30.0, DAY + 7200, 0.9, level=-10.0, tags=("our dog",)),
    Row("rain is falling", "/sounds/street/b.wav", 0.0, None, None, -0.1),
    Row("silence", "/sounds/street/b.wav", 10.0, None, None, None, -120.0, silent=True),
)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "out", ROWS)


@pytest.fixture
def recorded(tmp_path: Path, tiny_folder: Path) -> Path:
    """A real archive, in `out`, of the sounds in `in`."""
    archived(short_sounds(tmp_path / "in", 3), out=tmp_path / "out", model=tiny_folder)
    return tmp_path


def test_a_search_prints_a_table(command: Run, archive: Path) -> None:
    done = command("search", archive, "barking", "dogs")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "TIME                 SOURCE                AT    CAPTION      CONFIDENCE  LEVEL",
        "2026-11-27 02:00:00  /sounds/garden/a.wav  0:30  a dog barks  0.90        -10.0",
    ]


def test_each_hit_is_one_line_whatever_its_source_is_named(command: Run, tmp_path: Path) -> None:
    write_archive(tmp_path, [Row("a dog barks", "/x/new\nline\x1b[2J.wav"), Row("rain", "/x/a.wav")])
    header, *rows = command("search", tmp_path).stdout.splitlines()
    assert len(rows) == 2
    assert {row.find("0:00") for row in rows} == {header.find("AT")}
    assert any("/x/new line\\x1b[2J.wav" in row for row in rows)


def test_a_search_prints_one_json_object_a_line(command: Run, archive: Path) -> None:
    lines = command("search", archive, "--json").stdout.splitlines()
    assert [json.loads(line)["caption"] for line in lines] == ["a dog barks", "rain is falling"]


def test_more_hits_than_the_limit_are_counted_on_standard_error(command: Run, archive: Path) -> None:
    done = command("search", archive, "--limit", 1)
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == "edgecap: note: 1 of 2 windows; --limit shows more\n"


def test_a_search_without_hits_has_an_exit_code_of_its_own(command: Run, archive: Path) -> None:
    done = command("search", archive, "xylophone")
    assert (done.returncode, done.stdout) == (14, "")
    assert done.stderr.startswith(f"edgecap: error: nothing in {archive} fits; ")
    assert command("summary", archive, "--since", "2027-01-01").returncode == 14


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--since", "soon"], 2, "invalid time 'soon'"),
        (["--since", "2026-11-28", "--until", "2026-11-27"], 2, "--since 2026-11-28 is not before --until 2026-11-27"),
        (["--hours", "25-3"], 2, "invalid hours '25-3'"),
        (["!?"], 2, "has 0 words"),
        (["--html", "nowhere/page.html"], 7, "there is no folder nowhere"),
        (["--html", "/dev/null"], 7, "it is a device or a pipe"),
        (["--export-clips", __file__], 7, "is no folder; name another one"),
        (["--kept", "."], 2, "--kept is for a journal"),
        (["--like", "nowhere.wav"], 4, "--like needs the archive's model nobody"),
        (["--like", "x.wav", "--all-words"], 2, "--all-words is for a search by words alone"),
    ],
)
def test_wrong_options_get_one_line(command: Run, archive: Path, arguments: list[str], code: int, message: str) -> None:
    done = command("search", archive, *arguments)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (code, "", 1)
    assert message in done.stderr


@pytest.mark.parametrize("name", ["search", "summary"])
def test_what_is_no_archive_gets_one_line(command: Run, tmp_path: Path, name: str) -> None:
    done = command(name, tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (12, 1)
    assert "is not an archive" in done.stderr


def test_without_the_extra_one_line_says_what_to_install(
    command: Run, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    done = command("search", archive, "dog")
    assert (done.returncode, len(done.stderr.splitlines())) == (5, 1)
    assert ".[archive]" in done.stderr


def test_a_summary_prints_hours_folders_sounds_and_captions(command: Run, archive: Path) -> None:
    done = command("summary", archive)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "2 windows heard, 1 silent, 2 different captions\n"
        "1 window has no time\n"
        "\n"
        "HOUR  COUNT\n"
        "2-3   1\n"
        "\n"
        "COUNT  FIRST             LAST              FOLDER\n"
        "1      2026-11-27 02:00  2026-11-27 02:00  /sounds/garden/\n"
        "1                                          /sounds/street/\n"
        "\n"
        "COUNT  FIRST             LAST              NAMED SOUND\n"
        "1      2026-11-27 02:00  2026-11-27 02:00  our dog\n"
        "\n"
        "COUNT  FIRST             LAST              MOST OFTEN\n"
        "1      2026-11-27 02:00  2026-11-27 02:00  a dog barks\n"
        "1                                          rain is falling\n"
        "\n"
        "COUNT  FIRST             LAST              LEAST OFTEN\n"
        "1      2026-11-27 02:00  2026-11-27 02:00  a dog barks\n"
        "1                                          rain is falling\n"
    )


def test_a_summary_as_json_html_and_png(command: Run, archive: Path, tmp_path: Path) -> None:
    done = command("summary", archive, "--json", "--html", tmp_path / "s.html", "--png", tmp_path / "s.png")
    document = json.loads(done.stdout)
    assert document["hours"] == [{"day": "2026-11-27", "hour": 2, "count": 1}]
    assert {key: document[key] for key in ("heard", "silent", "undated", "captions", "unit")} == {
        "heard": 2, "silent": 1, "undated": 1, "captions": 2, "unit": "window",
    }  # fmt: skip
    assert document["rarest"][0]["first"] == datetime.fromtimestamp(DAY + 7200).astimezone().isoformat()
    assert "a dog barks" in (tmp_path / "s.html").read_text()
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_a_search_by_sound_with_a_page_and_clips(
    command: Run, recorded: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    clip, page = recorded / "in" / "001.wav", tmp_path / "page.html"
    (recorded / "in" / "002.wav").unlink()
    arguments = ("--like", clip, "--model", tiny_folder, "--html", page, "--export-clips", tmp_path / "clips", "--json")
    done = command("search", recorded / "out", *arguments)
    assert done.returncode == 3
    hits = [json.loads(line) for line in done.stdout.splitlines()]
    assert hits[0]["source"] == str(clip)
    assert hits[0]["similarity"] > 0.99
    assert len(hits) == 3
    assert page.read_text().count("<audio") == 3
    assert len(list((tmp_path / "clips").iterdir())) == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("edgecap: error: ")]
    assert len(errors) == 1
    assert "002.wav" in errors[0]


def test_another_model_than_the_archives_is_refused_in_one_line(command: Run, recorded: Path) -> None:
    done = command("search", recorded / "out", "--like", recorded / "in" / "001.wav", "--model", "tiny")
    assert (done.returncode, len(done.stderr.splitlines())) == (4, 1)
    assert "the archive was made with another model" in done.stderr


def test_a_journal_is_searched_without_the_extra_and_has_no_clips_of_its_own(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(str(tmp_path / "events.db"), "30d", ignore, model="tiny")
    journal.on_event(change("end", 1, "a dog barks"))
    for package in ("duckdb", "pyarrow", "fsspec"):
        monkeypatch.setitem(sys.modules, package, None)
    done = command("search", tmp_path / "events.db", "dogs", "--json")
    assert json.loads(done.stdout)["caption"] == "a dog barks"
    assert command("summary", tmp_path / "events.db").stdout.startswith("1 event heard, ")
    done = command("search", tmp_path / "events.db", "--export-clips", tmp_path / "clips")
    assert done.stdout == ""  # it is said before any hit
    assert done.returncode == 2
    assert "name the folder of --keep-audio by --kept" in done.stderr
    journal.close()
