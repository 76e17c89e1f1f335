"""Past events in a real browser: an event's sound, picture and label, the hours of the days, and files to save."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys

from edgecap.live.sinks.journal import Journal
from edgecap.web.page import LivePage
from support.live_parts import ignore
from support.web_parts import Recorder, change, choose, listed, media, open_page, text, tree, until

pytestmark = pytest.mark.usefixtures("tidy")
Open = Callable[..., LivePage]
COLOURS = """
const c = document.querySelector(".panel canvas"), data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
const seen = new Set();
for (let i = 0; i < data.length; i += 4) seen.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
return [c.width, c.height, seen.size, data[0] + data[1] + data[2]];"""


def opened(browser: Chrome) -> None:
    """Open the panel of the first event with a sound."""
    until(lambda: browser.find_elements("css selector", ".play"))
    browser.find_element("css selector", ".play").send_keys(Keys.ENTER)
    until(lambda: "between the lines" in text(browser, ".panel figcaption"))


def test_an_event_shows_its_spectrogram_which_follows_the_scheme(browser: Chrome, show: Open, tmp_path: Path) -> None:
    page = show(change("end", 9, "rain"), sounds=tmp_path)
    Recorder(page, tmp_path).event(1, began=time.time())
    media(browser, prefers_color_scheme="light")
    opened(browser)
    width, bands, colours, light = browser.execute_script(COLOURS)
    assert (width, bands) == (pytest.approx(5.0 / 0.03, abs=2), 64)
    assert colours > 20
    assert text(browser, ".panel figcaption") == (
        "5.0 s of sound. The event lies between the lines, from 1.0 s to 4.5 s."
    )
    (picture,) = (node for node in tree(browser) if node["role"] == "image" and "Spectrogram of" in node["name"])
    assert "a dog barks" in picture["name"]
    media(browser, prefers_color_scheme="dark")
    until(lambda: browser.execute_script(COLOURS)[3] != light)
    button = browser.find_element("css selector", ".play")
    assert (button.text, button.get_attribute("aria-expanded")) == ("Close", "true")
    button.click()
    assert browser.find_elements("css selector", ".panel") == []
    assert (button.text, button.get_attribute("aria-expanded")) == ("Play", "false")


def test_what_an_event_was_is_typed_saved_shown_and_taken_back(browser: Chrome, show: Open, tmp_path: Path) -> None:
    page = show(change("end", 9, "rain"), sounds=tmp_path)
    Recorder(page, tmp_path).event(1, began=time.time())
    opened(browser)
    field = browser.find_element("css selector", ".panel input")
    assert field.accessible_name == "It was"
    assert field.get_attribute("value") == "a dog barks"
    field.clear()
    field.send_keys("<b>a fox</b>", Keys.ENTER)
    said = ".panel [role=status]"
    until(lambda: "in words" in text(browser, said))
    field.clear()
    field.send_keys("a fox barks", Keys.ENTER)
    until(lambda: text(browser, said).startswith(f"Saved with its sound in {tmp_path / 'labelled'}"))
    assert text(browser, ".event .label") == "It was: a fox barks"
    with (tmp_path / "labelled" / "labels.csv").open(newline="") as file:
        assert [row["caption_1"] for row in csv.DictReader(file)] == ["a fox barks"]
    open_page(browser, page.url)
    until(lambda: text(browser, ".event .label") == "It was: a fox barks")
    opened(browser)
    assert browser.find_element("css selector", ".panel input").get_attribute("value") == "a fox barks"
    browser.find_element("xpath", "//button[text()='Remove the label']").click()
    until(lambda: "removed" in text(browser, said))
    assert text(browser, ".event .label") == ""
    assert list((tmp_path / "labelled").glob("*.flac")) == []


def test_the_hours_of_the_days_are_a_table_that_filters(browser: Chrome, show: Open, tmp_path: Path) -> None:
    noon = datetime.now().replace(hour=12, minute=0, second=0, microsecond=0)
    journal = Journal(str(tmp_path / "events.db"), "30d", ignore, model="tiny")

    def at(day: int, hour: int, minute: int = 0) -> float:
        return (noon - timedelta(days=day) + timedelta(hours=hour - 12, minutes=minute)).timestamp()

    times = [at(1, 7), at(1, 7, 30), at(1, 22), at(2, 7, 5), at(2, 3), *(at(3, 7, minute) for minute in range(40))]
    for number, began in enumerate(times):
        journal.on_event(change("end", number, f"event {number}", began=began))
    journal.close()
    show(change("end", 1, "an owl", began=at(1, 23)), journal=tmp_path / "events.db")
    until(lambda: len(listed(browser)) == 46)
    browser.find_element("css selector", "#by-hour summary").send_keys(Keys.ENTER)
    cells = "#heat td button"
    until(lambda: browser.find_elements("css selector", cells))
    shown = [
        (cell.text, cell.accessible_name.partition(", ")[2].partition(", ")[2] or cell.accessible_name)
        for cell in browser.find_elements("css selector", cells)
    ]
    assert [count for count, _ in shown] == ["2", "1", "1", "1", "40"]
    assert "7 to 8: 2 events" in shown[0][1]
    assert len(browser.find_elements("css selector", "#heat thead th[scope=col]")) == 25
    (first,) = browser.find_elements("css selector", f"{cells}[tabindex='0']")
    first.send_keys(Keys.ARROW_RIGHT)
    assert "22 to 23: 1 event" in browser.switch_to.active_element.accessible_name
    browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT, Keys.ARROW_DOWN)
    browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT, Keys.ENTER)
    until(lambda: listed(browser) == ["event 4"])
    assert text(browser, "#found") == "1 event matches."
    until(lambda: "3 to 4: 1 event" in browser.switch_to.active_element.accessible_name)  # where it was
    browser.switch_to.active_element.send_keys(Keys.ENTER)  # again: all
    until(lambda: len(listed(browser)) > 40)
    choose(browser, "hours", "22 to 6")
    until(lambda: sorted(listed(browser)) == ["an owl", "event 2", "event 4"])


def test_what_is_filtered_is_saved_for_a_spreadsheet_audacity_and_raven(browser: Chrome, show: Open) -> None:
    show(change("end", 1, "a dog"), change("end", 2, "rain"))
    until(lambda: len(listed(browser)) == 2)
    browser.find_element("id", "words").send_keys("dog", Keys.ENTER)
    until(lambda: listed(browser) == ["a dog"])
    heads = []
    for link in ("export", "labels", "raven"):
        saved = browser.execute_async_script(
            "fetch(document.getElementById(arguments[0]).href).then((answer) => answer.text()).then(arguments[1]);",
            link,
        )
        assert "a dog" in saved
        assert "rain" not in saved
        heads.append(saved.split("\n")[0][:9])
    assert heads == ["began,end", "0.000000\t", "Selection"]
