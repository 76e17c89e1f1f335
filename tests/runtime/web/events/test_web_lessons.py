"""Teaching from the page: a past event becomes an example of a sound with a name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

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
from support.signals import RATE
from support.teaching.taught_sounds import chime, rasp, shipped_captioner
from support.web_parts import Answer, Recorder, Visitor, change, text, until

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
