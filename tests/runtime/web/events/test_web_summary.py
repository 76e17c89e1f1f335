"""The summary of a day on the live page: from the journal, under the page's own rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from edgecap.live.sinks.journal import Journal
from edgecap.web.page import LivePage
from support.live_parts import ignore
from support.pages.axe import serious
from support.web_parts import Visitor, change, choose, text, until

TOKEN = "correct-horse-battery"
Serve = Callable[..., tuple[LivePage, Visitor]]
TODAY = date.today()
NOON = datetime.combine(TODAY, datetime.min.time()).timestamp() + 12 * 3600
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Path]:
    """A journal of yesterday and today, which a listener writes."""
    journal = Journal(str(tmp_path / "events.db"), "30d", ignore, model="tiny")
    for number, (said, began) in enumerate(
        (("an owl hoots", NOON - 86_400), ("a dog barks", NOON), ("rain falls", NOON + 60), (EVIL, NOON + 3600))
    ):
        journal.on_event(change("end", number, said, began=began, source="Kitchen"))
    yield tmp_path / "events.db"
    journal.close()


def test_a_days_summary_has_that_day_alone_and_leads_to_the_others(serve: Serve, journal: Path) -> None:
    _, ask = serve(journal)
    assert ask("GET", "/summary")[0] == 200  # today's, whichever day that is when it is asked for
    code, headers, body = ask("GET", f"/summary?day={TODAY}")
    page = body.decode()
    assert (code, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "3 events heard, with 3 different captions" in page
    assert "owl" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert EVIL not in page
    assert str(journal) not in page
    assert f"summary?day={TODAY - timedelta(1)}" in page
    assert "owl" in ask("GET", f"/summary?day={TODAY - timedelta(1)}")[2].decode()
    assert "Nothing with a time was heard." in ask("GET", "/summary?day=2001-01-01")[2].decode()
    assert ask("GET", "/summary.css")[1]["content-type"] == "text/css; charset=utf-8"


@pytest.mark.parametrize("day", ["today", "2026-13-01", "9999-12-31", "0001-01-01", "2026-11-28%27"])
def test_another_day_is_refused(serve: Serve, journal: Path, day: str) -> None:
    assert serve(journal)[1]("GET", f"/summary?day={day}")[0] == 400


def test_only_who_may_see_the_page_sees_a_summary_and_no_other_site_asks_for_one(serve: Serve, journal: Path) -> None:
    _, ask = serve(journal, address="0.0.0.0:0", token=TOKEN)
    bearer = f"Bearer {TOKEN}"
    assert ask("GET", "/summary")[0] == ask("GET", "/summary.css")[0] == 401
    assert ask("GET", "/summary", Host="evil.example", Authorization=bearer)[0] == 421
    assert ask("GET", "/summary", Sec_Fetch_Site="cross-site", Authorization=bearer)[0] == 403
    code, headers, _ = ask("GET", "/summary", Authorization=bearer)
    assert code == 200
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")


def test_without_a_journal_there_is_no_summary_and_a_missing_one_is_told(serve: Serve, tmp_path: Path) -> None:
    _, ask = serve()
    assert ask("GET", "/summary")[0] == 404
    assert json.loads(ask("GET", "/about")[2])["summaries"] is False
    _, ask = serve(tmp_path / "missing.db")
    code, _, body = ask("GET", "/summary")
    assert (code, "cannot be read" in json.loads(body)["error"]) == (503, True)


@pytest.mark.usefixtures("tidy")
def test_the_page_links_to_it_and_it_is_shown_as_it_should_be(
    browser: Chrome, show: Callable[..., LivePage], journal: Path
) -> None:
    show(journal=journal)
    until(browser.find_element("id", "summary").is_displayed)
    choose(browser, "day", "(3)")
    until(lambda: str(browser.find_element("id", "summary").get_attribute("href")).endswith(f"day={TODAY}"))
    browser.find_element("id", "summary").click()
    until(lambda: "what was heard" in text(browser, "h1"))
    assert "rain falls" in text(browser, "body")
    colour = "return getComputedStyle(document.querySelector('.heat4')).backgroundColor"
    assert browser.execute_script(colour) == "rgb(11, 90, 138)"
    assert serious(browser) == []
    browser.find_element("link text", "The live page").click()
    until(lambda: text(browser, "#connection") == "live")
