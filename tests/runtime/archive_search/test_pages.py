"""The pages of a search and of a summary, in a real browser, and the picture of the hours."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from PIL import Image
from selenium.webdriver import Chrome

from edgecap.archive.addresses import absolute
from edgecap.archive_search.conditions import Conditions
from edgecap.archive_search.heat_png import CELL, LEFT, TOP, heat_png
from edgecap.archive_search.playable import SoundPart, in_sources
from edgecap.archive_search.results_page import results_page
from edgecap.archive_search.search import Searcher, open_source
from edgecap.archive_search.summary import MOST_DAYS, HeardSummary, by_day, shade, summarise
from edgecap.archive_search.summary_page import summary_page
from support.archives.rows import Row, write_archive
from support.pages.axe import serious
from support.signals import RATE, tone
from support.web_parts import browsing, requests, until

DAY = datetime(2026, 11, 27).timestamp()
EVIL = "<script>alert(1)</script>\"'&"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browsing(tmp_path_factory.mktemp("browser") / "profile") as opened:
        yield opened


def written(folder: Path, *rows: Row) -> Path:
    """The page of all rows of an archive."""
    with open_source(str(write_archive(folder / "out", rows))) as source:
        results = Searcher(source).newest(Conditions(), 10)
    page = folder / "page.html"
    page.write_text(results_page(f"dog {EVIL}", results, in_sources(results.hits), page, "window"))
    return page


def test_a_player_begins_and_ends_at_the_seconds_of_its_hit(browser: Chrome, tmp_path: Path) -> None:
    sound = tmp_path / "with space & #1.wav"
    soundfile.write(sound, tone(30), RATE)
    page = written(tmp_path, Row("a dog barks", str(sound), 12.0, end=14.0))
    browser.get(page.as_uri())
    player = browser.find_element("css selector", "audio")
    player.send_keys(" ")  # as a visitor without a mouse starts it
    until(lambda: browser.execute_script("return arguments[0].currentTime", player) >= 12.0)
    until(lambda: browser.execute_script("return arguments[0].paused", player))
    assert browser.execute_script("return arguments[0].currentTime", player) == pytest.approx(14.0, abs=0.5)
    assert str(player.get_dom_attribute("src")).startswith("./with%20space%20%26%20%231.wav#t=12")


def test_the_page_needs_no_script_is_accessible_and_escapes_what_it_shows(browser: Chrome, tmp_path: Path) -> None:
    rows = (
        Row(EVIL, f"/sounds/{EVIL}.wav", 10.0, DAY, tags=(EVIL,)),
        Row("rain", "s3://bucket/rain.wav", 0.0, DAY - 60),
        Row("wind", "https://example.org/wind.mp3?x=1&y=2", 5.0, DAY - 120),
    )
    page = written(tmp_path, *rows)
    text = page.read_text()
    document = ElementTree.fromstring(text.partition("\n")[2])
    assert [element.tag for element in document.iter() if element.tag in {"script", "link", "iframe"}] == []
    assert not any(name.startswith("on") or name == "style" for element in document.iter() for name in element.attrib)
    players = [element.attrib["src"] for element in document.iter("audio")]
    assert players[0].startswith("file:///sounds/%3Cscript%3E")
    assert players[1:] == ["https://example.org/wind.mp3?x=1&y=2#t=5,15"]
    assert "The sound is at s3://bucket/rain.wav, which a browser cannot open." in text
    browser.get_log("performance")
    browser.get(page.as_uri())
    assert serious(browser) == []
    assert {url.partition(":")[0] for url in requests(browser)} <= {"file", "data"}


def test_a_name_that_is_not_utf8_has_a_player_beside_the_page_and_elsewhere(tmp_path: Path) -> None:
    sound = SoundPart(absolute(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff #1.wav")), 1.0, 2.0)
    assert sound.url(tmp_path / "page.html") == "./bad%FF%20%231.wav#t=1,2"
    assert str(sound.url(tmp_path / "below" / "page.html")).endswith("/bad%FF%20%231.wav#t=1,2")


def summary_of(folder: Path, *rows: Row) -> HeardSummary:
    with open_source(str(write_archive(folder / "out", rows))) as source:
        return summarise(source, Conditions())


ROWS = (
    *[Row("rain", "/x/a.wav", 10.0 * number, DAY + 10 * number) for number in range(100)],
    Row("thunder", "tar://y/b.wav::/z/set.tar", 0.0, DAY - 3600, tags=("our bell",)),
    Row(EVIL, f"/{EVIL}/b.wav", 10.0, DAY + 23 * 3600),
    Row("wind", "/x/a.wav", 0.0, None),
    Row("silence", "/x/a.wav", 10.0, DAY, silent=True),
)


def test_a_summary_counts(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, *ROWS)
    assert (summary.heard, summary.silent, summary.undated, summary.captions) == (103, 1, 1, 4)
    assert summary.hours == (("2026-11-27", 0, 100), ("2026-11-27", 23, 1), ("2026-11-26", 23, 1))
    assert [one.name for one in summary.rarest] == [EVIL, "thunder", "wind", "rain"]
    assert (summary.places[0].name, summary.places[0].count) == ("/x/", 101)
    assert "/z/set.tar" in [place.name for place in summary.places]
    (rain,) = [one for one in summary.commonest if one.name == "rain"]
    assert (rain.first, rain.last) == (DAY, DAY + 990)
    assert by_day(summary)["2026-11-26"][23] == 1


def test_its_page_is_accessible_and_escapes_what_it_shows(browser: Chrome, tmp_path: Path) -> None:
    page = tmp_path / "summary.html"
    page.write_text(summary_page(summary_of(tmp_path, *ROWS), "What was heard when"))
    document = ElementTree.fromstring(page.read_text().partition("\n")[2])
    assert list(document.iter("script")) == []
    cells = {cell.text: cell.attrib["class"] for cell in document.iter("td") if "heat" in cell.get("class", "")}
    assert (cells["100"], cells["1"]) == ("heat4", "heat1")
    browser.get(page.as_uri())
    assert serious(browser) == []


def test_the_picture_is_darker_where_more_was_heard(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, *ROWS)
    picture = np.array(Image.open(io.BytesIO(heat_png(summary))).convert("RGB"))

    def corner(row: int, hour: int) -> str:
        return bytes(picture[TOP + CELL * row + 2, LEFT + CELL * hour + 2]).hex()

    assert corner(0, 0) == "0b5a8a"
    assert corner(0, 23) == corner(1, 23) == "dae6ed"
    assert corner(0, 1) == corner(1, 0) == "ffffff"
    assert (picture[:TOP, LEFT:] < 128).any()
    assert (picture[TOP + CELL : TOP + 2 * CELL, :LEFT] < 128).any()


def test_years_are_counted_to_the_hour_and_the_newest_days_drawn(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, *[Row("rain", time=DAY - 86_400.0 * day) for day in range(MOST_DAYS + 100)])
    assert sum(map(sum, by_day(summary).values())) == len(summary.hours) == MOST_DAYS + 100
    assert "the newest 400 of 500 days" in summary_page(summary, "x")
    assert Image.open(io.BytesIO(heat_png(summary))).size[1] == TOP + CELL * MOST_DAYS + 4


def test_a_summary_without_times_has_a_page_and_a_picture(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, Row("wind", time=None))
    assert "Nothing with a time was heard." in summary_page(summary, "x")
    assert Image.open(io.BytesIO(heat_png(summary))).size[0] > 24 * CELL


def test_shades_grow_with_the_logarithm() -> None:
    assert [shade(count, 1000) for count in (0, 1, 10, 100, 1000)] == [0, 1, 2, 3, 4]
    assert shade(1, 1) == 4
    assert SoundPart("/a.wav", 0, 1).url(Path("/x/p.html")) == "file:///a.wav#t=0,1"
