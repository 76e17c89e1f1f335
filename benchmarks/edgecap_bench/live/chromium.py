"""A headless Chromium without background traffic, in which the live page is measured, tested and photographed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgecap.errors import MissingDependencyError

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-features=OptimizationHints,MediaRouter,Translate",
    "--mute-audio",
)


@contextmanager
def chromium(profile: Path, *flags: str, graphics: bool = False) -> Iterator[Chrome]:
    """A browser with the profile folder `profile`, which logs its console and its requests.

    With `graphics` it may use a graphics processor.

    Raises MissingDependencyError without selenium, Chromium or its driver.
    """
    try:
        from selenium.webdriver import Chrome, ChromeOptions
        from selenium.webdriver.chrome.service import Service
    except ImportError as error:
        raise MissingDependencyError.for_extra("showing the page", "dev") from error
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        raise MissingDependencyError(
            "showing the page needs Chromium, which was not found; type: sudo apt install chromium chromium-driver"
        )
    options = ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={profile}", *flags):
        if not (graphics and flag == "--disable-gpu"):
            options.add_argument(flag)
    browser_session = Chrome(options, Service(driver))
    try:
        yield browser_session
    finally:
        browser_session.quit()


def evaluate(browser: Chrome, script: str) -> Any:  # noqa: ANN401 - any value of JavaScript
    """What a script run in the page returns. Selenium's own method is typed in some of its releases only."""
    return cast(Any, browser).execute_script(script)
