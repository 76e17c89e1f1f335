"""What axe-core finds on the page in a real browser: nothing serious, in light and dark, on a desk and on a phone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver import Chrome

from edgecap.captioner import Captioner
from edgecap.live.config.web_config import WebConfig
from edgecap.web.demo import Demo
from edgecap.web.page import LivePage
from support.live_parts import ignore
from support.pages.axe import serious
from support.web_parts import Recorder, change, media, open_page, status, text, until

pytestmark = pytest.mark.usefixtures("tidy")
Open = Callable[..., LivePage]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 360)])
def test_the_live_page_with_all_of_it_open(
    browser: Chrome, show: Open, tmp_path: Path, scheme: str, width: int
) -> None:
    media(browser, prefers_color_scheme=scheme)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    page = show(change("end", 9, "rain"), change("begin", 10, "a siren"), sounds=tmp_path)
    page.on_frames("the test", np.zeros((30, 64), np.float32))
    page.on_status(status(audio_kept=str(tmp_path)))
    page.on_status(status(source="Kitchen", number=1, fault="digital silence"))
    Recorder(page, tmp_path).event(1, began=time.time())
    until(lambda: browser.find_elements("css selector", ".play"))
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true;")
    browser.find_element("css selector", ".play").click()
    until(lambda: browser.find_elements("css selector", "#heat button"))
    until(lambda: "between the lines" in text(browser, ".panel figcaption"))
    until(browser.find_element("id", "canvas").is_displayed)
    assert serious(browser) == []
    wide, inner = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= inner == width


def test_the_page_that_asks_for_the_token_and_the_demo(browser: Chrome, captioner: Captioner, sounds: Path) -> None:
    with Demo(WebConfig(address="0", token="correct-horse-battery"), captioner, ignore) as demo:
        browser.get(demo.url.partition("?")[0] + "?token=wrong-horse-battery")
        assert serious(browser) == []
        open_page(browser, demo.url)
        browser.find_element("id", "file").send_keys(str(sounds / "tone.flac"))
        until(lambda: browser.find_elements("css selector", "#captions .beams li"))
        assert serious(browser) == []
