"""A real headless Chromium, and what the tests of the page need around it."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from selenium.webdriver import Chrome

from edgecap.errors import MissingDependencyError
from edgecap.live.events.event import Change, Event, Kind
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.sinks.journal import Journal
from edgecap.live.sinks.kept_audio import KeptAudio
from edgecap.web.page import LivePage
from edgecap_bench.live.chromium import chromium
from support.live_parts import ignore
from support.signals import RATE, noise

Value = TypeVar("Value")
Answer = tuple[int, dict[str, str], bytes]
"""Status, headers in lower case and body of an answer."""
PATIENCE = 20.0
STARTED = time.time()


@contextmanager
def browsing(profile: Path, *flags: str) -> Iterator[Chrome]:
    """A browser with a new profile; a test that needs it is skipped where there is none."""
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(chromium(profile, *flags))
        except MissingDependencyError as error:
            pytest.skip(str(error))
        opened.set_window_size(1100, 1400)
        opened.set_script_timeout(PATIENCE)
        yield opened


def until(look: Callable[[], Value], patience: float = PATIENCE) -> Value:
    """What `look` gives as soon as it is something."""
    give_up = time.monotonic() + patience
    while not (value := look()):
        assert time.monotonic() < give_up, "what was waited for did not come"
        time.sleep(0.05)
    return value


def text(browser: Chrome, selector: str) -> str:
    """The text of an element, shown or not."""
    return str(browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))


def open_page(browser: Chrome, url: str) -> None:
    """Open a page and wait until its scripts have run."""
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(url)
    until(lambda: browser.execute_script("return 'ready' in document.documentElement.dataset"))


def requests(browser: Chrome) -> list[str]:
    """Addresses that were asked for since the page was opened."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]


def tree(browser: Chrome) -> list[dict[str, Any]]:
    """What a screen reader sees: role, name, value, description and properties of each node that is not ignored."""
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    return [
        {
            "role": node["role"]["value"],
            "name": node.get("name", {}).get("value", ""),
            "value": node.get("value", {}).get("value"),
            "description": node.get("description", {}).get("value", ""),
            **{item["name"]: item["value"].get("value") for item in node.get("properties", ())},
        }
        for node in nodes
        if not node["ignored"]
    ]


def media(browser: Chrome, **features: str) -> None:
    """What the visitor prefers, as in prefers_color_scheme="dark"."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]},
    )


def listed(browser: Chrome) -> list[str]:
    shown = browser.execute_script("return [...document.querySelectorAll('#list .text')].map((e) => e.textContent)")
    assert isinstance(shown, list)
    return shown


def choose(browser: Chrome, name: str, option: str) -> None:
    """Choose an option of a list by a part of its text."""
    chosen = """
        const list = document.getElementById(arguments[0]);
        const option = [...list.options].find((one) => one.text.includes(arguments[1]));
        if (!option) return false;
        list.value = option.value;
        list.dispatchEvent(new Event("change"));
        return true;"""
    until(lambda: browser.execute_script(chosen, name, option))


def change(
    kind: Kind, number: int, said: str, *, start: float = 0.0, began: float | None = None, source: str = "the test"
) -> Change:
    """An event that began when the tests did, in the order of numbers, unless `began` (Unix time) says otherwise."""
    began = STARTED + number / 100 if began is None else began
    return Change(
        kind, Event(number, start, start + 3.5, began, began + 3.5, said, -0.45, -12.3, 2, kind != "end", source)
    )


def status(**more: Any) -> StatusSnapshot:
    """A listener's status."""
    return StatusSnapshot(
        **{
            "source": "the test",
            "asked_hop": 2.0,
            "hop": 2.0,
            "heard": 12.0,
            "level": -30.0,
            "floor": -65.0,
            "gate_open": True,
            "seconds": 0.02,
            "beams": (("a dog barks", -0.45), ("a cat", -1.5)),
            **more,
        }
    )


class Visitor:
    """Asks a server as a browser would, header by header."""

    def __init__(self, port: int, host: str | None = None) -> None:
        self.port, self.host = port, host or f"127.0.0.1:{port}"
        self.origin = f"http://{self.host}"

    def __call__(self, method: str, path: str, body: bytes | None = None, **headers: str | None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent: dict[str, str | None] = {"Host": self.host}
        if method == "POST":
            sent |= {"Origin": self.origin, "Content-Type": "application/octet-stream"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {name: value for name, value in sent.items() if value is not None})
        answer = connection.getresponse()
        headers_received = {name.lower(): value for name, value in answer.getheaders()}
        body_received = answer.read()
        connection.close()
        return answer.status, headers_received, body_received


class Recorder:
    """The sinks of a listener that keeps sound, and the page that plays it."""

    def __init__(self, page: LivePage, folder: Path, *others: Journal) -> None:
        self.kept = KeptAudio(str(folder), "7d", ignore, sample_rate=RATE, window=4.0)
        self.sinks = (self.kept, *others, page)

    def event(self, number: int, seconds: float = 3.0, *, ends: bool = True, **more: Any) -> Event:
        """An event of so much sound, which begins after one second."""
        begun = change("begin", number, "a dog barks", start=1.0, **more)
        self.kept.on_audio(begun.event.source, noise(2.0), 2.0)
        for sink in self.sinks:
            sink.on_event(begun)
        self.kept.on_audio(begun.event.source, noise(seconds), 2.0 + seconds)
        ended = Change("end", replace(begun.event, open=False))
        for sink in self.sinks if ends else ():
            sink.on_event(ended)
        return ended.event
