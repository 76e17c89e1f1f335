"""The page in one real headless Chromium, which is tidied between tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import soundfile
from selenium.webdriver import Chrome

from edgecap.captioner import Captioner
from edgecap.live.config.listen_config import ListenConfig, OutputConfig
from edgecap.live.config.live_settings import LiveBox, LiveSettings
from edgecap.live.config.web_config import WebConfig
from edgecap.web.page import LivePage
from edgecap.web.server import own_address
from support.live_parts import ignore
from support.signals import tone
from support.web_parts import browsing, change, media, open_page, requests, status, text, until

Open = Callable[..., LivePage]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One browser for all tests here; its microphone plays a hum."""
    folder = tmp_path_factory.mktemp("browser")
    soundfile.write(folder / "hum.wav", tone(10, 48_000), 48_000, subtype="PCM_16")
    with browsing(
        folder / "profile",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={folder / 'hum.wav'}",
    ) as opened:
        yield opened


@pytest.fixture
def tidy(browser: Chrome) -> Iterator[None]:
    """Each test begins with an empty page, and ends without an error in it and without a request to elsewhere."""
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    yield
    hosts = {own_address(), "127.0.0.1"}
    foreign = [
        url
        for url in requests(browser)
        if url.split(":")[0] not in {"data", "blob", "about"} and url.split("/")[2].split(":")[0] not in hosts
    ]
    wrong = [
        entry["message"]
        for entry in browser.get_log("browser")
        if entry["level"] == "SEVERE" and "Failed to load resource" not in entry["message"]
    ]
    media(browser)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert (foreign, wrong) == ([], [])


@pytest.fixture
def show(browser: Chrome, captioner: Captioner) -> Iterator[Open]:
    """Serves a live page with some events and a status, and opens it."""
    pages: list[LivePage] = []

    def show(*events: object, journal: Path | None = None, sounds: Path | None = None) -> LivePage:
        kept = OutputConfig(journal=str(journal) if journal else None, keep_audio=str(sounds) if sounds else None)
        page = LivePage(
            ListenConfig(web=WebConfig(address="0"), output=kept),
            captioner,
            ignore,
            live=LiveBox(LiveSettings(), lambda _settings: None),
            clock=count(0.0, 0.1).__next__,
        )
        pages.append(page)
        page.on_status(status())
        for event in events or (change("end", 1, "rain falls"), change("begin", 2, "a dog barks")):
            page.on_event(event)  # type: ignore[arg-type]
        open_page(browser, page.url)
        until(lambda: text(browser, "#connection") == "live")
        return page

    yield show
    for page in pages:
        page.close()
