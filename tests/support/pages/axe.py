"""What axe-core says of a page in a browser."""

from __future__ import annotations

from typing import Any

from selenium.webdriver import Chrome

from support.node_parts import axe

RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, { resultTypes: ["violations"] }).then((results) => done(results.violations.map((one) =>
  [one.impact, one.id, one.nodes.map((node) => node.html + ": " + node.failureSummary)])));"""


def serious(browser: Chrome) -> list[Any]:
    """The serious and critical faults of the page as it is now, each with its places; skips without axe-core."""
    browser.execute_script(axe())
    faults = browser.execute_async_script(RUN)
    return [fault for fault in faults if fault[0] in {"serious", "critical"}]
