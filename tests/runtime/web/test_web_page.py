"""The page in a real headless Chromium: what is seen, heard by a screen reader, typed, dropped and recorded."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import numpy as np
import pytest
import soundfile
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from edgecap.captioner import Captioner
from edgecap.live.config.listen_config import ListenConfig
from edgecap.live.config.web_config import WebConfig
from edgecap.live.events.describe import HeardSound
from edgecap.live.events.event import Change
from edgecap.live.sinks.journal import Journal
from edgecap.live.sinks.kept_audio import KeptAudio
from edgecap.web.demo import Demo
from edgecap.web.page import LivePage
from edgecap.web.server import Exchange, own_address
from support.live_parts import ignore
from support.signals import RATE, noise, tone
from support.web_parts import change, choose, listed, media, open_page, status, text, tree, until

Open = Callable[..., LivePage]
INTERACTIVE = {"button", "searchbox", "textbox", "combobox", "link", "checkbox", "meter", "DisclosureTriangle"}
pytestmark = pytest.mark.usefixtures("tidy")
CONTRAST = """
const lum = (c) => {
  const v = c.map((x) => x / 255).map((x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
const parse = (s) => s.match(/[\\d.]+/g).map(Number);
const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
  if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
const ratio = (a, b) => { const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
const texts = [];
for (const e of document.querySelectorAll("body *")) {
  if (!e.getClientRects().length) continue;
  const style = getComputedStyle(e), name = e.tagName + "#" + e.id + "." + e.className;
  if ([...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    texts.push([name, "text", ratio(parse(style.color).slice(0, 3), behind(e))]);
  if (["BUTTON", "INPUT", "SELECT"].includes(e.tagName))
    texts.push([name, "edge", ratio(parse(style.borderTopColor).slice(0, 3), behind(e.parentElement))]);
}
const style = getComputedStyle(document.documentElement);
const hex = (name) => style.getPropertyValue(name).trim().match(/[0-9a-f]{2}/g).map((part) => parseInt(part, 16));
for (const [what, kind, over, under] of [["event", "text", "--on-accent", "--accent"],
    ["open event", "text", "--on-accent", "--faint"], ["axis", "text", "--soft", "--card"],
    ["level", "edge", "--accent", "--card"]])
  texts.push([what, kind, ratio(hex(over), hex(under))]);
return texts;
"""


def play(page: LivePage, first: int, count: int, source: str = "the test", number: int = 0) -> None:
    """So many tenths of a second of a rising sweep, as the listener gives them."""
    for tenth in range(first, first + count):
        frames = np.full((10, 64), -60.0, np.float32)
        frames[:, tenth % 64] = 25.0
        page.on_frames(source, frames)
        page.on_status(status(source=source, number=number, heard=(tenth + 1) / 10, level=-20.0 - tenth % 7))


def canvas(browser: Chrome) -> list[int]:
    """How many pixels of the picture have each of some colours, by their lightness in 8 steps."""
    counts: list[int] = browser.execute_script("""
        const c = document.getElementById("canvas");
        const data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data, counts = new Array(8).fill(0);
        for (let i = 0; i < data.length; i += 4) counts[(data[i] + data[i + 1] + data[i + 2]) / 3 >> 5]++;
        return counts;""")
    return counts


def test_a_real_event_reaches_the_page_from_end_to_end(browser: Chrome, tiny_folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise.wav", noise(600), RATE)
    command = [
        sys.executable,
        "-m",
        "edgecap",
        "listen",
        "--file",
        tmp_path / "noise.wav",
        "--model",
        tiny_folder,
        "--min-score",
        "-99",
        "--json",
        "--web",
        "0",
    ]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stderr
        errors = child.stderr
        url = until(lambda: errors.readline().rstrip().partition("the live page is at ")[2])
        open_page(browser, url)
        event = json.loads(child.stdout.readline())
        assert until(lambda: text(browser, "#caption")) == event["text"]
        assert text(browser, "#list .text") == event["text"]
        until(lambda: "sound" in text(browser, "#figures"))
        until(lambda: len(set(canvas(browser))) > 3)
        child.terminate()
        assert child.wait(30) == 0
    until(lambda: text(browser, "#connection").startswith("edgecap has stopped"))


def test_the_caption_is_in_a_live_region_that_speaks_once(browser: Chrome, show: Open) -> None:
    page = show()
    (region,) = (
        node
        for node in tree(browser)
        if node.get("live") == "polite" and node.get("atomic") and node["role"] == "paragraph"
    )
    assert region
    assert text(browser, "#caption") == "a dog barks"
    browser.execute_script("""
        window.said = [];
        new MutationObserver(() => said.push(document.getElementById("caption").textContent))
          .observe(document.getElementById("caption"), { childList: true, characterData: true, subtree: true });""")
    page.on_event(change("update", 2, "a dog barks"))
    page.on_event(change("end", 2, "a dog barks"))
    until(lambda: "over" in str(browser.find_element("id", "caption").get_attribute("class")))
    assert " to " in text(browser, "#since")
    page.on_event(change("begin", 3, "a cat meows"))
    until(lambda: text(browser, "#caption") == "a cat meows")
    assert browser.execute_script("return said") == ["a cat meows"]


def test_what_a_caption_says_is_never_taken_for_markup(browser: Chrome, show: Open) -> None:
    nasty = '<img src=x onerror="window.caught=1"><b>'
    show(change("begin", 1, nasty))
    assert text(browser, "#caption") == nasty
    assert text(browser, "#list .text") == nasty
    browser.find_element("id", "words").send_keys("<b>", Keys.ENTER)
    until(lambda: text(browser, "#found") == "1 event matches.")
    assert text(browser, "#list mark") == "<b>"
    assert browser.execute_script("return window.caught ?? null") is None


def test_a_screen_reader_finds_names_landmarks_headings_and_values(browser: Chrome, show: Open) -> None:
    page = show()
    until(lambda: text(browser, "#list"))
    nodes = tree(browser)
    assert [node["role"] for node in nodes if node["role"] in INTERACTIVE and not node["name"]] == []
    roles = {node["role"] for node in nodes}
    assert {"banner", "main", "contentinfo", "search", "region", "status", "meter", "list"} <= roles
    headings = [(node["level"], node["name"]) for node in nodes if node["role"] == "heading"]
    assert headings[0] == (1, "edgecap")
    assert {level for level, _ in headings[1:]} == {2, 3}  # the days of the events are of level 3
    assert {"Now", "Events", "Caption a sound", "Status"} <= {name for _, name in headings}
    regions = [node["name"] for node in nodes if node["role"] == "region"]
    assert len(regions) == len(set(regions)) == 6
    (meter,) = (node for node in nodes if node["role"] == "meter")
    assert (meter["name"], meter["valuemin"], meter["valuemax"]) == ("Loudness", -90, 0)
    assert browser.find_element("id", "level").get_attribute("aria-valuetext") == "medium, sound"
    page.on_frames("the test", np.zeros((30, 64), np.float32))
    page.on_status(status())
    until(lambda: browser.find_element("id", "canvas").is_displayed())
    (picture,) = (node for node in tree(browser) if node["role"] == "image")
    assert "spectrogram" in picture["name"]
    facts = browser.execute_script("""
        const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
        return [document.documentElement.lang, document.title, ids.length - new Set(ids).size,
          [...document.querySelectorAll("[aria-describedby], [aria-labelledby]")].filter((e) =>
            [e.getAttribute("aria-describedby"), e.getAttribute("aria-labelledby")].some((id) =>
              id && !document.getElementById(id))).length];""")
    assert facts == ["en", "edgecap: live captions", 0, 0]


def test_everything_is_reached_by_keyboard_and_its_focus_is_seen(browser: Chrome, show: Open) -> None:
    show()
    reached: list[tuple[str, str, float]] = []
    for _ in range(30):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        measured = browser.execute_script("""
            const e = document.activeElement, style = getComputedStyle(e);
            const name = e.tagName === "SUMMARY" ? `SUMMARY ${e.parentElement.id}`
              : e.id || e.className || e.tagName;
            return [name, style.outlineStyle, parseFloat(style.outlineWidth)];""")
        if measured[0] in {"BODY", "HTML"} or measured[0] in [name for name, *_ in reached]:
            break
        reached.append(tuple(measured))
    names = [name for name, *_ in reached]
    assert names == [
        *("skip", "SUMMARY guesses", "pause", "take", "words", "day", "hours", "confidence", "BUTTON"),
        *("SUMMARY by-hour", "export", "labels", "raven", "scroller", "file", "record"),
        *("listening", "SUMMARY adjusting", "SUMMARY technical"),
    ]
    assert all(style != "none" and width >= 2 for _, style, width in reached)


def test_the_skip_link_leads_to_the_captions_and_keys_work_the_page(browser: Chrome, show: Open) -> None:
    show()
    browser.find_element("tag name", "body").send_keys(Keys.TAB, Keys.ENTER)
    assert browser.execute_script("return document.activeElement.id") == "main"
    browser.find_element("id", "pause").send_keys(Keys.SPACE)
    assert browser.find_element("id", "pause").get_attribute("aria-pressed") == "true"
    browser.find_element("css selector", "summary").send_keys(Keys.ENTER)
    assert browser.find_element("id", "beams").text.splitlines() == ["64 %a dog barks", "22 %a cat"]


def test_the_search_finds_past_events_and_says_how_many(browser: Chrome, show: Open) -> None:
    show(*(change("end", number, said) for number, said in enumerate(("a dog barks", "rain", "Dogs bark"), start=1)))
    words = browser.find_element("id", "words")
    words.send_keys("dog", Keys.ENTER)
    until(lambda: text(browser, "#found") == "2 events match.")
    assert [item.text for item in browser.find_elements("css selector", "#list .text")] == ["Dogs bark", "a dog barks"]
    assert text(browser, "#list mark") == "Dog"
    said = browser.find_element("id", "found")
    assert (said.aria_role, said.is_displayed()) == ("status", True)
    words.clear()
    words.send_keys("owl")  # without Enter
    until(lambda: text(browser, "#found") == "No event matches.")
    words.send_keys(Keys.BACKSPACE * 3)
    until(lambda: len(browser.find_elements("css selector", "#list li")) == 3)


def test_named_sounds_have_a_badge_now_and_from_the_journal(browser: Chrome, show: Open, tmp_path: Path) -> None:
    bell = HeardSound("our doorbell", "our-doorbell", 0.9, 0.0, 1.0)
    captioned = change("end", 1, "our doorbell rings")
    captioned = replace(captioned, event=replace(captioned.event, sounds=(bell,)))
    old = change("end", 7, "our doorbell", began=time.time() - 3000)
    old = replace(old, event=replace(old.event, named="our-doorbell", sounds=(bell,)))
    journal = Journal(str(tmp_path / "events.db"), "30d", ignore, model="tiny")
    journal.on_event(old)
    show(captioned, change("end", 2, "rain falls"), journal=tmp_path / "events.db")
    badges = "return [...document.querySelectorAll('#list li .badge')].map((e) => e.textContent)"
    until(lambda: browser.execute_script(badges) == ["our doorbell", "named sound"])
    journal.close()


def test_older_events_are_shown_on_request(browser: Chrome, show: Open) -> None:
    now = time.time()
    show(*(change("end", number, f"event {number}", began=now - 1000 + number) for number in range(180)))
    until(lambda: len(browser.find_elements("css selector", "#list li")) == 100)
    assert text(browser, "#list .day span") == "180 events"
    older = browser.find_element("id", "older")
    until(older.is_displayed)
    older.click()
    until(lambda: len(browser.find_elements("css selector", "#list li")) == 150)
    until(older.is_displayed)
    older.click()
    until(lambda: len(browser.find_elements("css selector", "#list li")) == 180)
    said = browser.execute_script("return [...document.querySelectorAll('#list .text')].map((e) => e.textContent)")
    assert said == [f"event {number}" for number in reversed(range(180))]
    assert text(browser, "#found") == "30 older events."
    assert "event 29" in browser.switch_to.active_element.text


def test_events_of_earlier_runs_come_from_the_journal(browser: Chrome, show: Open, tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "events.db"), "30d", ignore, model="tiny")
    journal.on_event(change("end", 7, "an owl hoots", began=time.time() - 3000))
    now = change("begin", 1, "a dog barks")
    journal.on_event(now)
    page = show(now, journal=tmp_path / "events.db")
    said = "return [...document.querySelectorAll('#list .text')].map((e) => e.textContent)"
    until(lambda: browser.execute_script(said) == ["a dog barks", "an owl hoots"])  # each once
    page.on_event(change("begin", 2, "rain falls"))
    until(lambda: browser.execute_script(said) == ["rain falls", "a dog barks", "an owl hoots"])
    journal.close()


def test_the_picture_shows_spectrogram_timeline_and_level_and_moves(browser: Chrome, show: Open) -> None:
    page = show(change("begin", 1, "a siren", start=2.0))
    empty = canvas(browser)
    play(page, 0, 60)
    until(lambda: sum(a != b for a, b in zip(canvas(browser), empty, strict=True)) >= 3)
    seen = canvas(browser)
    play(page, 60, 60)
    until(lambda: canvas(browser) != seen)
    assert text(browser, "#loudness") in {"loud", "medium"}


def test_a_pause_holds_the_picture_still(browser: Chrome, show: Open) -> None:
    page = show()
    play(page, 0, 30)
    until(lambda: len(set(canvas(browser))) > 3)
    browser.find_element("id", "pause").click()
    held = canvas(browser)
    play(page, 30, 60)
    page.on_status(status(heard=9.1, level=-50.0, gate_open=False))
    until(lambda: "−50 dBFS" in text(browser, "#details"))
    assert canvas(browser) == held
    browser.find_element("id", "pause").click()
    play(page, 90, 1)
    until(lambda: canvas(browser) != held)


DRAWN = """
const done = arguments[arguments.length - 1], pen = CanvasRenderingContext2D.prototype, own = pen.drawImage;
let drawn = 0;
pen.drawImage = function (...all) { drawn++; return own.apply(this, all); };
setTimeout(() => { pen.drawImage = own; done(drawn); }, 2500);
"""


def test_whoever_asked_for_less_motion_gets_a_step_a_second(browser: Chrome, show: Open) -> None:
    media(browser, prefers_reduced_motion="reduce")
    page = show()
    play(page, 0, 60)
    until(lambda: len(set(canvas(browser))) > 3)
    browser.set_script_timeout(30)
    play(page, 60, 60)
    assert browser.execute_async_script(DRAWN) <= 2 * 4  # at most two pieces of the ring a step
    media(browser)
    counts = []
    for begin in range(120, 420, 60):
        play(page, begin, 60)
        counts.append(browser.execute_async_script(DRAWN))
        if max(counts) > 2 * 4:
            break
    assert max(counts) > 2 * 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_scheme_with_enough_contrast(browser: Chrome, show: Open, scheme: str) -> None:
    media(browser, prefers_color_scheme=scheme)
    page = show()
    page.on_status(status(fault="digital silence", audio_kept="/somewhere"))
    until(lambda: browser.find_element("id", "fault").is_displayed())
    paper = browser.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
    lightness = sum(map(int, paper.strip("rgb()").split(",")))
    assert lightness > 600 if scheme == "light" else lightness < 150
    contrasts = browser.execute_script(CONTRAST)
    assert len(contrasts) > 40
    limits = {"text": 4.5, "edge": 3.0}
    assert [item for item in contrasts if item[2] < limits[item[1]]] == []


def test_the_picture_changes_its_colours_with_the_scheme(browser: Chrome, show: Open) -> None:
    media(browser, prefers_color_scheme="light")
    page = show()
    play(page, 0, 30)
    until(lambda: canvas(browser)[7] > sum(canvas(browser)) / 2)
    media(browser, prefers_color_scheme="dark")
    until(lambda: canvas(browser)[7] < sum(canvas(browser)) / 4)


def test_a_phone_shows_all_of_it_without_scrolling_sideways(browser: Chrome, show: Open) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 320, "height": 640, "deviceScaleFactor": 2, "mobile": True}
    )
    show(change("begin", 1, "a man speaks while " + "an incomprehensibly" * 4 + " long machine hums"))
    width, inner = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width <= inner == 320
    heights = browser.execute_script("""
        return [...document.querySelectorAll("button, input, select, summary")].filter((e) => e.getClientRects().length)
          .map((e) => [e.id || e.tagName, e.getBoundingClientRect().height]);""")
    assert [item for item in heights if item[1] < (32 if item[0] == "SUMMARY" else 44)] == []


def test_the_status_says_what_goes_on(browser: Chrome, show: Open) -> None:
    page = show()
    page.on_status(
        status(
            dropped=7,
            celsius=61.4,
            throttled=True,
            lost=1.5,
            overflows=3,
            gate_open=False,
            hop=3.0,
            audio_kept="/var/sounds",
            fault="digital silence",
        )
    )
    until(lambda: "61 °C, too hot" in text(browser, "#figures"))
    figures, details = text(browser, "#figures"), text(browser, "#details")
    for part in (
        "Hearsnothing: digital silence",
        "every 3 s, not every 2 s: this machine is too slow or too hot",
        "7 captions, 1.5 s of sound",
        "12.0 s, 0 events",
    ):
        assert part in figures
    for jargon in ("dBFS", "gate", "floor", "hop", "overflow", "factor", "score"):
        assert jargon not in browser.find_element("tag name", "body").text.lower().replace("technical figures", "")
    for part in ("closed, noise floor −65 dBFS", "Hops skipped7", "Overflows3", "0.7 %a caption takes 20 ms"):
        assert part in details
    assert not browser.find_element("id", "details").is_displayed()
    assert text(browser, "#kept") == "Sound is kept in /var/sounds"
    assert browser.find_element("id", "kept").is_displayed()
    alerts = [node for node in tree(browser) if node["role"] == "alert"]
    assert alerts
    assert text(browser, "#fault") == "the test: digital silence"
    page.on_status(status())
    until(lambda: not browser.find_element("id", "fault").is_displayed())
    assert not browser.find_element("id", "kept").is_displayed()


def test_several_microphones_are_told_apart(browser: Chrome, show: Open) -> None:
    page = show()
    page.on_status(status(source="Kitchen", number=1))
    until(lambda: browser.find_element("id", "source-choice").is_displayed())
    page.on_event(change("begin", 3, "a kettle", source="Kitchen"))
    until(lambda: text(browser, "#caption") == "Kitchen: a kettle")
    assert "Kitchen" in text(browser, "#figures")
    before = canvas(browser)
    play(page, 0, 40, source="Kitchen", number=1)
    browser.find_element("css selector", "#source option:nth-child(2)").click()
    until(lambda: canvas(browser) != before)


def test_a_microphone_that_gets_its_name_is_still_one(browser: Chrome, show: Open) -> None:
    page = show()
    play(page, 0, 5)
    page.on_status(status(source="USB Audio", fault=""))
    until(lambda: text(browser, "#source") == "USB Audio")
    assert not browser.find_element("id", "source-choice").is_displayed()
    assert text(browser, "#figures").count("Hears") == 1
    before = canvas(browser)
    play(page, 5, 60, source="USB Audio")
    until(lambda: canvas(browser) != before)
    assert [status["source"] for status in page._statuses.values()] == ["USB Audio"]


def test_the_page_comes_back_when_the_listener_does(browser: Chrome, show: Open, captioner: Captioner) -> None:
    page = show()
    port = page._server.port
    page.close()
    until(lambda: text(browser, "#connection") != "live")
    assert large(browser)[0] == "Not connected"  # and not an event that may be long over
    again = LivePage(ListenConfig(web=WebConfig(address=str(port))), captioner, ignore)
    try:
        again.on_event(change("begin", 1, "thunder"))
        until(lambda: large(browser)[0] == "thunder", 40)
        assert text(browser, "#connection") == "live"
        assert [item.text for item in browser.find_elements("css selector", "#list .text")] == ["thunder"]
    finally:
        again.close()


def test_a_chosen_file_is_captioned_with_its_beams(browser: Chrome, captioner: Captioner, sounds: Path) -> None:
    with Demo(WebConfig(address="0"), captioner, ignore) as demo:
        open_page(browser, demo.url)
        assert browser.title == "edgecap: demo"
        assert not browser.find_element("id", "now").is_displayed()
        browser.find_element("id", "file").send_keys(str(sounds / "tone.flac"))
        (expected,) = captioner.caption_file(sounds / "tone.flac")
        until(lambda: text(browser, "#progress") == f"tone.flac: {expected.text}")
        assert browser.find_element("css selector", "#captions h3").text == "tone.flac"
        shown = [item.text for item in browser.find_elements("css selector", "#captions .beams li")]
        assert shown == [f"{round(100 * math.exp(beam.score))} %{beam.text}" for beam in expected.beams]
        browser.find_element("id", "file").send_keys(str(sounds / "silence.wav"))
        until(lambda: "the model did not run" in text(browser, "#captions"))
        browser.find_element("id", "file").send_keys(__file__)
        until(lambda: text(browser, "#progress").startswith("test_web_page.py is not a readable sound"))


def test_a_proxy_that_refuses_a_sound_is_named(browser: Chrome, captioner: Captioner, sounds: Path) -> None:
    def refuse(exchange: Exchange) -> None:
        exchange.discard(int(exchange.headers["Content-Length"]))
        exchange.reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"<html>nginx</html>", "text/html")

    with Demo(WebConfig(address="0"), captioner, ignore) as demo:
        demo._server.routes["POST", "/caption"] = refuse
        open_page(browser, demo.url)
        browser.find_element("id", "file").send_keys(str(sounds / "tone.flac"))
        until(lambda: text(browser, "#progress") == "tone.flac was refused by a proxy on the way, with status 413.")


@pytest.mark.parametrize("media", [True, False])
def test_the_page_asks_for_what_this_machine_can_read(
    browser: Chrome, captioner: Captioner, monkeypatch: pytest.MonkeyPatch, media: bool
) -> None:
    monkeypatch.setattr("edgecap.web.page.media_available", lambda: media)
    with Demo(WebConfig(address="0"), captioner, ignore) as demo:
        open_page(browser, demo.url)
        accepted = str(browser.find_element("id", "file").get_attribute("accept"))
        assert (".m4a" in accepted, "m4a" in text(browser, "#file-note")) == (media, media)
        assert ".wav" in accepted or "audio/*" in accepted


def test_a_dropped_file_is_captioned_wherever_it_falls(browser: Chrome, show: Open, sounds: Path) -> None:
    show()
    place = {
        "x": 300,
        "y": 20,
        "modifiers": 0,
        "data": {"items": [], "files": [str(sounds / "long.wav")], "dragOperationsMask": 1},
    }
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, **place})
    until(lambda: text(browser, "#progress") == "long.wav: 3 captions")
    assert "10.0 s to 20.0 s" in text(browser, "#captions")
    assert text(browser, "#caption") == "a dog barks"  # the page is still the page


def test_the_browsers_microphone_is_recorded_and_captioned(browser: Chrome, captioner: Captioner) -> None:
    with Demo(WebConfig(address="0"), captioner, ignore) as demo:
        open_page(browser, demo.url)
        button = browser.find_element("id", "record")
        button.click()
        until(lambda: button.text == "Stop recording")
        until(lambda: text(browser, "#left") in {"3 s left", "2 s left"})
        button.click()  # before the time is over
        until(lambda: browser.find_elements("css selector", "#captions .beams li"))
        assert text(browser, "#captions h3") == "recording"
        assert button.text == "Record 5 seconds"
        assert text(browser, "#captions .more").startswith(("medium", "loud"))  # the hum, not silence


def test_without_a_secure_page_the_microphone_is_explained(browser: Chrome, captioner: Captioner) -> None:
    address = own_address()
    if address.startswith("127."):
        pytest.skip("this machine has no address but its own")
    with Demo(WebConfig(address="0.0.0.0:0"), captioner, ignore) as demo:
        open_page(browser, demo.url)
        assert browser.current_url == demo.url.partition("?")[0]
        assert not browser.find_element("id", "record").is_enabled()
        assert "only to https and to localhost" in text(browser, "#record-note")


def test_the_token_is_typed_where_it_is_not_in_the_address(browser: Chrome, captioner: Captioner) -> None:
    with Demo(WebConfig(address="0", token="correct-horse-battery"), captioner, ignore) as demo:
        url = demo.url.partition("?")[0]
        browser.get(url)
        assert [node["name"] for node in tree(browser) if node["role"] == "textbox"] == ["Token"]
        assert not browser.find_element("css selector", "[role=alert]").is_displayed()
        browser.find_element("id", "token").send_keys("wrong-horse-battery", Keys.ENTER)
        until(lambda: "wrong" in browser.current_url)
        assert [node["role"] for node in tree(browser) if node["role"] == "alert"] == ["alert"]
        assert browser.find_element("css selector", "[role=alert]").text == "Wrong token."
        browser.find_element("id", "token").send_keys("correct-horse-battery", Keys.ENTER)
        until(lambda: browser.find_elements("css selector", "#drop"))
        until(lambda: browser.current_url == url)
        open_page(browser, url)  # the cookie carries it now
        assert browser.execute_script("return document.cookie") == ""


def large(browser: Chrome) -> tuple[str, float]:
    """The largest text of the part that says what is heard now, and its size in pixels."""
    said, size = browser.execute_script("""
        const all = [...document.querySelectorAll("#now p")].filter((e) => e.getClientRects().length && e.textContent);
        const size = (e) => parseFloat(getComputedStyle(e).fontSize);
        const top = all.sort((a, b) => size(b) - size(a))[0];
        return [top.textContent, size(top)];""")
    return said, size


def test_quiet_shows_as_quiet_and_a_fault_with_its_reason(browser: Chrome, show: Open) -> None:
    page = show(change("begin", 1, "a dog barks"))
    assert large(browser)[0] == "a dog barks"
    page.on_event(change("end", 1, "a dog barks"))
    page.on_status(status(gate_open=False))
    until(lambda: large(browser)[0] == "Quiet")
    assert text(browser, "#calm-since").startswith("since ")
    last = browser.find_element("id", "caption")
    assert (last.text, browser.find_element("id", "last").text) == ("a dog barks", "Last event")
    assert float(last.value_of_css_property("font-size").removesuffix("px")) < 0.6 * large(browser)[1]
    page.on_status(status(gate_open=True))
    until(lambda: large(browser)[0] == "Listening …")
    page.on_status(status(gate_open=False, fault="digital silence"))
    until(lambda: large(browser)[0] == "Nothing can be heard")
    assert browser.find_element("id", "fault").text == "the test: digital silence"
    page.on_event(change("begin", 2, "rain falls"))
    page.on_status(status())
    until(lambda: large(browser)[0] == "rain falls")
    assert not browser.find_element("id", "fault").is_displayed()


def test_an_event_of_another_microphone_that_goes_on_is_shown_again(browser: Chrome, show: Open) -> None:
    page = show(change("begin", 1, "rain falls"))
    page.on_status(status(source="Kitchen", number=1))
    page.on_event(change("begin", 2, "a kettle", source="Kitchen"))
    until(lambda: large(browser)[0] == "Kitchen: a kettle")
    page.on_event(change("end", 2, "a kettle", source="Kitchen"))
    until(lambda: large(browser)[0] == "the test: rain falls")


def test_a_browser_that_comes_later_sees_the_last_half_minute(browser: Chrome, show: Open) -> None:
    page = show(change("begin", 1, "a siren", start=2.0))
    assert not browser.find_element("id", "canvas").is_displayed()
    assert browser.find_element("id", "no-picture").is_displayed()
    browser.get("about:blank")
    play(page, 0, 400)
    open_page(browser, page.url)
    until(browser.find_element("id", "canvas").is_displayed)  # and nothing was sent since
    counts = canvas(browser)
    assert min(counts[5:]) > 100  # background, sweep and level
    lit = browser.execute_script("""
        const c = document.getElementById("canvas"), pen = c.getContext("2d"), seen = new Set();
        const data = pen.getImageData(0, 0, c.width, c.height).data;
        for (let x = 0; x < 30; x++) for (let y = 40; y < c.height - 40; y++) {
          const at = 4 * (y * c.width + Math.floor((x + 0.5) * c.width / 30));
          if (data[at] + data[at + 1] + data[at + 2] < 300) seen.add(x);
        }
        return seen.size;""")
    assert lit >= 25  # sound in each of the thirty seconds, but where the sweep is at an edge
    assert text(browser, "#caption") == "a siren"


def test_many_events_leave_upload_and_status_within_reach(browser: Chrome, show: Open) -> None:
    show(*(change("end", number, f"event {number}") for number in range(1, 101)))
    until(lambda: len(browser.find_elements("css selector", "#list li")) == 100)
    place, height, inner = browser.execute_script("""
        return [document.getElementById("sounds").getBoundingClientRect().top + scrollY,
          document.documentElement.scrollHeight, document.getElementById("scroller").scrollHeight];""")
    assert inner > 4000  # the list itself
    assert place < 1600
    assert height < 2400
    scroller = browser.find_element("id", "scroller")
    scroller.send_keys(Keys.PAGE_DOWN)
    until(lambda: browser.execute_script("return document.getElementById('scroller').scrollTop") > 100)


def test_events_are_grouped_by_day_and_filtered_by_day_microphone_and_confidence(
    browser: Chrome, show: Open, tmp_path: Path
) -> None:
    journal, day = Journal(str(tmp_path / "events.db"), "30d", ignore, model="tiny"), 86_400
    now = time.time()
    for number in range(70):  # more than come at once
        journal.on_event(change("end", number, f"rain {number}", began=now - 2 * day - number, source="Porch"))
    journal.on_event(change("end", 100, "an owl", began=now - day, source="Kitchen"))
    page = show(change("begin", 1, "a dog barks"), journal=tmp_path / "events.db")
    until(lambda: len(listed(browser)) == 51)
    headings = [item.text for item in browser.find_elements("css selector", "#list .day")]
    assert [heading.rpartition(" ")[0].split()[-1] for heading in headings] == ["1", "1", "70"]
    tomorrow = change("end", 200, "snow slides from a roof", began=now + day)
    page.on_event(tomorrow)
    until(lambda: len(browser.find_elements("css selector", "#list .day")) == 4)
    assert listed(browser)[0] == "snow slides from a roof"
    assert headings[0].startswith("Today, ")
    choose(browser, "microphone", "Kitchen")
    until(lambda: listed(browser) == ["an owl"])
    assert text(browser, "#found") == "1 event matches."
    choose(browser, "microphone", "all")
    choose(browser, "day", "(70)")
    until(lambda: text(browser, "#found") == "70 events match.")
    assert listed(browser) == [f"rain {number}" for number in range(50)]
    table = browser.execute_async_script("""
        const done = arguments[arguments.length - 1], link = document.getElementById("export");
        fetch(link.href).then((answer) => answer.text()).then(done);""")
    assert len(table.splitlines()) == 71
    page.on_event(change("begin", 2, "a cat"))
    choose(browser, "day", "all")
    until(lambda: "a dog barks" in listed(browser))
    choose(browser, "confidence", "90 %")
    until(lambda: listed(browser) == [])
    assert text(browser, "#found") == "No event matches."
    page.on_event(change("begin", 3, "too unsure to be listed"))
    sure = change("begin", 4, "a siren")
    page.on_event(replace(sure, event=replace(sure.event, score=-0.05)))
    until(lambda: listed(browser) == ["a siren"])
    journal.close()


def test_the_kept_sound_of_an_event_is_heard(browser: Chrome, show: Open, tmp_path: Path) -> None:
    kept = KeptAudio(str(tmp_path), "7d", ignore, sample_rate=RATE, window=4.0)
    begun = change("begin", 1, "a hum", start=1.0)
    page = show(begun, sounds=tmp_path)
    kept.on_audio("the test", tone(2), 2.0)
    kept.on_event(begun)
    kept.on_audio("the test", tone(3), 5.0)
    assert browser.find_elements("css selector", ".play") == []
    for sink in (kept, page):
        sink.on_event(Change("end", replace(begun.event, open=False)))
    button = until(lambda: next(iter(browser.find_elements("css selector", ".play")), None))
    assert button is not None
    assert str(button.get_attribute("aria-label")).startswith("Play the sound of “a hum”, ")
    button.send_keys(Keys.ENTER)
    audio = "const a = document.querySelector('audio');"
    assert until(lambda: browser.execute_script(f"{audio} return a && a.duration")) == pytest.approx(5.0, abs=0.01)
    until(lambda: browser.execute_script(f"{audio} return a.currentTime") > 0.1)
    browser.execute_script(f"{audio} a.currentTime = 4")
    until(lambda: browser.execute_script(f"{audio} return a.currentTime") > 4)
    assert browser.execute_script(f"{audio} return document.activeElement === a")
    for sound in tmp_path.iterdir():
        sound.unlink()
    open_page(browser, page.url)
    until(lambda: browser.find_elements("css selector", ".play"))
    browser.find_element("css selector", ".play").click()
    until(lambda: "no longer kept" in text(browser, "#list"))
