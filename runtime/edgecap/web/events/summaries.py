"""The summary of a day, from the journal, as a page of its own.

GET  /summary      ?day=: what was heard on a day, today without one, as HTML without scripts
GET  /summary.css  its style
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from http import HTTPStatus

from edgecap.archive_search.conditions import Conditions, parse_when
from edgecap.archive_search.journal import JournalSource
from edgecap.archive_search.summary import summarise
from edgecap.archive_search.summary_page import summary_page, summary_style
from edgecap.errors import ConfigError, DataError
from edgecap.web.events.search import SEARCH_SECONDS
from edgecap.web.server import HERE, Exchange, Route

STYLE = "summary.css"


class Summaries:
    """Answers requests for summaries of the days of a journal."""

    def __init__(self, journal: str) -> None:
        self._journal = journal
        self.routes: dict[tuple[str, str], Route] = {
            ("GET", "/summary"): self._summary,
            ("GET", f"/{STYLE}"): lambda exchange: exchange.reply(
                HTTPStatus.OK, summary_style().encode(), "text/css; charset=utf-8"
            ),
        }

    def _summary(self, exchange: Exchange) -> None:
        try:
            day = date.fromisoformat(exchange.query.get("day") or date.today().isoformat())
            days = {"The day before": day - timedelta(1), "The day after": day + timedelta(1)}
            conditions = Conditions(since=parse_when(f"{day}"), until=parse_when(f"{day}", end=True))
        except (ValueError, OverflowError, ConfigError):
            exchange.refuse(HTTPStatus.BAD_REQUEST, "day is as 2026-11-28")
            return
        try:
            source = JournalSource(self._journal, SEARCH_SECONDS)
            try:
                summary = replace(summarise(source, conditions), address="the listener's journal")
            finally:
                source.close()
        except DataError as error:
            exchange.try_later(error)
            return
        links = {"The live page": HERE, **{name: f"summary?day={other}" for name, other in days.items()}}
        page = summary_page(summary, f"{day:%A}, {day}: what was heard", stylesheet=STYLE, links=links)
        exchange.reply(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8")
