"""Teaching from the page: a past event becomes an example of a sound with a name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys

from edgecap.captioner import Captioner
from edgecap.live.events.event import Event
from edgecap.sounds.store import SoundStore
from edgecap.types import Waveform
from edgecap.web.page import LivePage
from support.pages.axe import serious
from support.signals import RATE
from support.teaching.taught_sounds import chime, rasp, shipped_captioner
from support.web_parts import Answer, Recorder, Visitor, change, status, text, until

TOKEN = "correct-horse-battery"
Serve = Callable[..., tuple[LivePage, Visitor]]


@pytest.fixture
def captioner() -> Captioner:
    return shipped_captioner()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoundStore:
    """The user's own, empty."""
    monkeypatch.setenv("EDGECAP_SOUNDS", str(tmp_path / "taught"))
    return SoundStore()


def heard(page: LivePage, folder: Path, number: int, sound: Waveform) -> Event:
    """An event whose kept sound is this."""
    event = Recorder(page, folder).event(number, began=1_790_000_000.0 + number)
    soundfile.write(folder / page._past.sound_of(event), sound, RATE)
    return event


def teach(ask: Visitor, event: Event, name: object, more: object = False, **headers: str | None) -> Answer:
    fields = {"began": event.document()["began"], "source": event.source, "name": name, "more": more}
    return ask("POST", "/teach", json.dumps(fields).encode(), **{"Content_Type": "application/json", **headers})


def test_events_teach_a_sound_and_what_is_wrong_is_one_line(serve: Serve, store: SoundStore, tmp_path: Path) -> None:
    page, ask = serve(sounds=tmp_path)
    sounds = chime(1), chime(2), rasp(), np.zeros(RATE, np.float32)
    first, second, other, silent = (heard(page, tmp_path, number, sound) for number, sound in enumerate(sounds, 1))
    code, _, body = teach(ask, first, " our doorbell ")
    assert (code, json.loads(body)) == (200, {"name": "our doorbell", "examples": 1, "notes": []})
    for event, name, more, words in (
        (second, "Our doorbell", False, "tick “one more example"),
        (first, "gong", False, "too much like 'our doorbell'"),
        (other, "our doorbell", True, "do not resemble each other"),
        (second, "gong", True, "no sound called 'gong'"),
        (silent, "quiet", False, "the sound of this event is silent"),
        (first, "", False, "1 to 60 printable"),
    ):
        code, _, body = teach(ask, event, name, more)
        assert (code, words in json.loads(body)["error"], b"\n" in body) == (422, True, False), body
    assert [len(sound.examples) for sound in store.load().sounds] == [1]
    assert json.loads(teach(ask, second, "our doorbell", True)[2])["examples"] == 2
    assert teach(ask, first, 5)[0] == teach(ask, first, "x", "yes")[0] == 400
    assert teach(ask, first, "x" * 5000)[0] == 413


def test_sounds_that_cannot_be_saved_are_refused_with_the_reason(
    serve: Serve, store: SoundStore, tmp_path: Path
) -> None:
    page, ask = serve(sounds=tmp_path)
    store.folder.symlink_to(tmp_path / "none" / "such")  # no folder can be made there
    code, _, body = teach(ask, heard(page, tmp_path, 1, chime(1)), "our doorbell")
    assert (code, str(store.folder) in json.loads(body)["error"]) == (503, True), body


def test_only_the_page_itself_teaches_and_only_with_the_token(serve: Serve, store: SoundStore, tmp_path: Path) -> None:
    page, ask = serve(sounds=tmp_path, address="0.0.0.0:0", token=TOKEN)
    event, bearer = heard(page, tmp_path, 1, chime(1)), {"Authorization": f"Bearer {TOKEN}"}
    assert teach(ask, event, "bell")[0] == 401
    assert teach(ask, event, "bell", Origin="http://evil.example", **bearer)[0] == 403
    assert teach(ask, event, "bell", Origin=None, **bearer)[0] == 403
    assert teach(ask, event, "bell", Content_Type="text/plain", **bearer)[0] == 415
    assert store.load().sounds == ()
    assert teach(ask, event, "bell", **bearer)[0] == 200


def just_heard(page: LivePage, sound: Waveform, source: str = "the test") -> None:
    """Ten seconds of a quiet room in which this sound was heard after four."""
    room = np.random.default_rng(1).normal(0.0, 0.001, 10 * RATE).astype(np.float32)
    room[4 * RATE : 4 * RATE + sound.size] += sound
    for start in range(0, room.size, RATE // 10):
        page.on_audio(source, room[start : start + RATE // 10], (start + RATE // 10) / RATE)


def post(ask: Visitor, path: str, fields: object, **headers: str | None) -> tuple[int, dict[str, Any]]:
    code, _, body = ask("POST", path, json.dumps(fields).encode(), **{"Content_Type": "application/json", **headers})
    return code, json.loads(body)


def test_what_was_just_heard_is_taken_and_taught(serve: Serve, store: SoundStore) -> None:
    page, ask = serve()
    source = {"source": "the test"}
    assert post(ask, "/take", source) == (404, {"error": "nothing is heard of this microphone now"})
    just_heard(page, chime(1))
    code, taken = post(ask, "/take", source)
    assert (code, taken["seconds"], set(taken)) == (200, 10.0, {"taken", "columns", "bands", "seconds"})
    page.on_status(status(fault="digital silence"))  # what comes later changes nothing of it
    assert post(ask, "/take", source)[0] == 404
    lesson = {"taken": taken["taken"], "from": 3.5, "to": 6.0, "name": "our doorbell"}
    assert post(ask, "/teach", lesson) == (200, {"name": "our doorbell", "examples": 1, "notes": []})
    [sound] = store.load().sounds
    assert len(sound.examples[0]) <= 5  # only the part that was named
    code, gone = post(ask, "/teach", {**lesson, "name": "bell"})
    assert (code, gone["error"]) == (404, "what was taken is no longer there; take the last ten seconds again")


def test_what_cannot_be_taught_of_it_is_one_line(serve: Serve, store: SoundStore) -> None:
    page, ask = serve()
    just_heard(page, np.zeros(0, np.float32))
    lesson = {"taken": post(ask, "/take", {"source": "the test"})[1]["taken"], "name": "bell"}
    for more, wanted, words in (
        ({"from": 6.0, "to": 6.05}, 422, "the sound that was taken has 0.05 s"),
        ({"from": 5.0, "to": 5.0}, 400, "from and to are seconds, between 0 and 10"),
        ({"from": -1.0}, 400, "from and to are seconds"),
        ({"to": "x"}, 400, "from and to are seconds"),
        ({"to": float("nan")}, 400, "from and to are seconds"),
        ({"name": 5}, 400, "name is text"),
        ({"name": "\u202ebell"}, 422, "1 to 60 printable"),
    ):
        code, answer = post(ask, "/teach", {**lesson, **more})
        assert (code, words in answer["error"]) == (wanted, True), answer
    assert post(ask, "/drop", lesson) == (200, {})
    assert post(ask, "/teach", lesson)[0] == 404
    assert store.load().sounds == ()


def test_only_the_page_itself_takes_what_was_heard_and_only_with_the_token(serve: Serve, store: SoundStore) -> None:
    page, ask = serve(address="0.0.0.0:0", token=TOKEN)
    just_heard(page, chime(1))
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for path, fields in (("/take", {"source": "the test"}), ("/drop", {"taken": "x"}), ("/teach", {"taken": "x"})):
        assert post(ask, path, fields)[0] == 401
        assert post(ask, path, fields, Origin="http://evil.example", **bearer)[0] == 403
        assert post(ask, path, fields, Origin=None, **bearer)[0] == 403
        assert post(ask, path, fields, Host="evil.example", **bearer)[0] in {403, 421}
        assert post(ask, path, fields, Content_Type="text/plain", **bearer)[0] == 415
        assert ask("GET", path, Authorization=bearer["Authorization"])[0] in {404, 405}
    assert page._recent._taken == {}
    assert post(ask, "/take", {"source": "the test"}, **bearer)[0] == 200
    assert store.load().sounds == ()


@pytest.mark.usefixtures("tidy")
def test_what_was_just_heard_is_taught_with_the_keyboard_alone(
    browser: Chrome, show: Callable[..., LivePage], store: SoundStore
) -> None:
    page = show()
    button = browser.find_element("id", "take")
    button.send_keys(Keys.ENTER)
    until(lambda: text(browser, "#take-said") == "nothing is heard of this microphone now")
    just_heard(page, chime(1))
    button.send_keys(Keys.ENTER)
    until(lambda: browser.find_elements("css selector", "#taken canvas"))
    until(lambda: browser.switch_to.active_element.accessible_name == "Teach edgecap: this is")
    assert serious(browser) == []
    names = []
    for _ in range(3):
        browser.switch_to.active_element.send_keys(Keys.SHIFT, Keys.TAB, Keys.NULL)
        names.append(browser.switch_to.active_element.accessible_name)
    assert names == ["Discard", "to", "From second"]
    browser.switch_to.active_element.send_keys(Keys.CONTROL, "a", Keys.NULL, "3.5")
    for _ in range(3):
        browser.switch_to.active_element.send_keys(Keys.TAB, Keys.NULL)
    browser.switch_to.active_element.send_keys("呼び鈴", Keys.ENTER)
    until(lambda: text(browser, "#take-said") == "Learnt “呼び鈴” from 1 example; recognised from now on.")
    assert [sound.name for sound in store.load().sounds] == ["呼び鈴"]
    assert browser.switch_to.active_element.accessible_name == "Teach what was just heard"
    assert not browser.find_elements("css selector", "#taken *")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    until(lambda: browser.find_elements("css selector", "#taken button"))
    until(lambda: browser.switch_to.active_element.accessible_name == "Teach edgecap: this is")
    browser.switch_to.active_element.send_keys(Keys.SHIFT, Keys.TAB, Keys.NULL)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    until(lambda: text(browser, "#take-said") == "Discarded.")
    until(lambda: page._recent._taken == {})


@pytest.mark.usefixtures("tidy")
def test_a_name_typed_below_an_event_is_listed_as_taught(
    browser: Chrome, show: Callable[..., LivePage], store: SoundStore, tmp_path: Path
) -> None:
    page = show(change("end", 9, "rain"), sounds=tmp_path)
    heard(page, tmp_path, 1, chime(1))
    until(lambda: browser.find_elements("css selector", ".play"))
    browser.find_element("css selector", ".play").send_keys(Keys.ENTER)
    (field,) = until(lambda: browser.find_elements("css selector", ".panel input[maxlength='60']"))
    assert field.accessible_name == "Teach edgecap: this is"
    said = ".panel > div:last-child [role=status]"
    field.send_keys("our doorbell", Keys.ENTER)
    until(lambda: text(browser, said).startswith("Learnt “our doorbell” from 1 example; recognised from now on"))
    assert [sound.name for sound in store.load().sounds] == ["our doorbell"]
    field.send_keys(Keys.ENTER)
    until(lambda: "already" in text(browser, said))
    field.send_keys(Keys.TAB, Keys.NULL)
    more = browser.switch_to.active_element
    assert more.accessible_name == "one more example of it"
