"""Settings on the page: who may change them, what is refused, and that a running listener takes them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys

from edgecap.captioner import Captioner
from edgecap.live.adjusting import live_box
from edgecap.live.config.listen_config import ListenConfig
from edgecap.live.config.live_settings import LiveBox
from edgecap.live.config.web_config import WebConfig
from edgecap.web.page import LivePage
from support.live_parts import ignore
from support.signals import RATE, noise
from support.web_parts import Answer, Visitor, open_page, status, text, tree, until

TOKEN = "correct-horse-battery"
JSON = {"Content_Type": "application/json"}


@pytest.fixture
def controlled(captioner: Captioner) -> Iterator[Callable[..., tuple[LivePage, Visitor, LiveBox]]]:
    """A page whose settings a thread applies, as the listening one does."""
    stop, parts = threading.Event(), list[tuple[LivePage, threading.Thread]]()

    def serve(**web: Any) -> tuple[LivePage, Visitor, LiveBox]:
        config = ListenConfig(web=WebConfig(**{"address": "0", **web}))
        box = live_box(config, captioner, 4.0, ignore)
        page = LivePage(config, captioner, ignore, live=box)

        def apply() -> None:
            while not stop.wait(0.02):
                if (asked := box.take()) is not None:
                    box.applied(asked)
                    page.on_status(status(live=asked, gate_open=not asked.paused))

        thread = threading.Thread(target=apply)
        thread.start()
        parts.append((page, thread))
        page.on_status(status(live=box.now))
        return page, Visitor(page._server.port), box

    yield serve
    stop.set()
    for page, thread in parts:
        thread.join(20)
        page.close()


def post(ask: Visitor, body: object, **headers: str | None) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask("POST", "/settings", data, **{**JSON, **headers})


def test_some_settings_are_changed_and_the_others_stay(controlled: Callable[..., Any]) -> None:
    _, ask, box = controlled()
    before = box.now
    code, _, body = post(ask, {"hop": 5, "only": ["dog"]})
    assert (code, json.loads(body)["applied"]) == (200, True)
    assert (box.now.hop, box.now.only, box.now.gate, box.now.paused) == (5.0, ("dog",), before.gate, False)
    for wrong in ({"hop": 0}, {"only": ["the"], "paused": True}, {"threads": 4}):
        code, _, body = post(ask, wrong)
        assert (code, list(json.loads(body))) == (422, ["error"])
    for damaged in (b"", b"[]", b"{", b'"x"'):
        assert post(ask, damaged)[0] == 415
    assert post(ask, b" " * 20_000)[0] == 413
    assert (box.now.hop, box.now.paused) == (5.0, False)


def test_only_the_page_itself_changes_settings_and_only_with_the_token(controlled: Callable[..., Any]) -> None:
    _, ask, box = controlled(address="0.0.0.0:0", token=TOKEN)
    bearer, pause = {"Authorization": f"Bearer {TOKEN}"}, {"paused": True}
    assert post(ask, pause)[0] == 401
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": None},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
    ):
        assert post(ask, pause, **bearer, **headers)[0] == 403
    assert post(ask, pause, **bearer, Host="evil.example")[0] == 421
    assert post(ask, pause, **bearer, Content_Type="text/plain")[0] == 415
    assert ask("GET", "/settings", None, **bearer)[0] == 404
    assert not box.now.paused
    assert post(ask, pause, **bearer)[0] == 200
    assert box.now.paused


def test_a_page_without_a_listener_offers_no_settings(captioner: Captioner) -> None:
    page = LivePage(ListenConfig(web=WebConfig(address="0")), captioner, ignore)
    ask = Visitor(page._server.port)
    assert post(ask, {"paused": True})[0] == 404
    assert json.loads(ask("GET", "/about")[2])["adjustable"] is False
    page.close()


@pytest.mark.usefixtures("tidy")
def test_the_form_shows_what_is_in_force_and_sends_what_was_changed(
    browser: Chrome, controlled: Callable[..., Any]
) -> None:
    page, ask, box = controlled()
    open_page(browser, page.url)
    until(lambda: browser.find_element("id", "hop").get_attribute("value") == "2")
    browser.find_element("css selector", "#settings summary").click()
    fields = {
        name: browser.find_element("id", name)
        for name in ("gate", "gate-dbfs", "hop", "least", "broader", "only", "ignore")
    }
    names = {node["name"] for node in tree(browser)}
    assert {
        "Sound is described",
        "Seconds from one caption to the next",
        "Only events with one of these words",
    } <= names
    assert [fields[name].get_attribute("value") for name in ("gate", "least", "only")] == ["auto", "22", ""]
    assert not fields["gate-dbfs"].is_displayed()
    fields["gate"].send_keys("when it is louder")
    fields["gate-dbfs"].clear()
    fields["gate-dbfs"].send_keys("-40")
    fields["least"].clear()
    fields["least"].send_keys("50")
    fields["broader"].clear()
    fields["broader"].send_keys("70")
    fields["only"].send_keys("dog, siren")
    post(ask, {"hop": 4})  # by another visitor meanwhile
    until(lambda: box.now.hop == 4.0)
    fields["ignore"].send_keys("the", Keys.ENTER)
    until(lambda: "not a content word" in text(browser, "#adjusted"))
    fields["ignore"].clear()
    fields["ignore"].send_keys("music", Keys.ENTER)
    until(lambda: text(browser, "#adjusted") == "Changed.")
    assert (box.now.gate, box.now.only, box.now.ignore) == (-40.0, ("dog", "siren"), ("music",))
    assert box.now.min_confidence == 0.7
    assert box.now.min_score == pytest.approx(-0.6931, abs=1e-4)
    post(ask, {"hop": 3, "gate": "off"})
    until(lambda: fields["hop"].get_attribute("value") == "3")
    assert fields["gate"].get_attribute("value") == "off"


@pytest.mark.usefixtures("tidy")
def test_a_real_listener_is_paused_and_goes_on(browser: Chrome, tiny_folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise.wav", noise(600), RATE)
    options = ["--file", tmp_path / "noise.wav", "--model", tiny_folder, "--min-score", "-99", "--json", "--web", "0"]
    command = [sys.executable, "-m", "edgecap", "listen", *options]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stderr
        errors, events = child.stderr, child.stdout
        url = until(lambda: errors.readline().rstrip().partition("the live page is at ")[2])
        begun = json.loads(events.readline())
        open_page(browser, url)
        button = browser.find_element("id", "listening")
        until(lambda: button.get_attribute("aria-pressed") == "false")
        button.send_keys(Keys.SPACE)
        ended = json.loads(events.readline())
        assert (ended["id"], ended["open"]) == (begun["id"], False)
        until(lambda: text(browser, "#calm") == "Paused")
        until(lambda: button.get_attribute("aria-pressed") == "true")
        assert "nothing: paused" in text(browser, "#figures")
        until(lambda: "paused = True" in errors.readline())
        button.click()
        again = json.loads(events.readline())
        assert again["start"] >= ended["end"]
        until(lambda: text(browser, "#caption") == again["text"])
        child.terminate()
        child.communicate(timeout=30)
        assert child.returncode == 0
