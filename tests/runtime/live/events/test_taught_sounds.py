"""Taught sounds while listening: an event of their own, and a place in captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import edgecap as package
from edgecap.sounds.store import SoundStore
from edgecap.teaching.examples import example_of
from edgecap.teaching.lesson import TeachRequest, teach_sound
from support.teaching.taught_sounds import RATE, chime, shipped_captioner


@pytest.fixture
def taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the sound "our doorbell", in use."""
    monkeypatch.setenv("EDGECAP_SOUNDS", str(tmp_path / "sounds"))
    captioner = shipped_captioner()
    examples = [example_of(captioner, chime(number), str(number)) for number in range(5)]
    teach_sound(captioner, SoundStore(), TeachRequest("our doorbell", false_alarms=1.0), examples)
    return tmp_path


def bell_at(folder: Path, *places: float, seconds: float = 24.0) -> Path:
    """A recording with the chime at some seconds."""
    sound = np.random.default_rng(5).normal(0.0, 0.001, round(seconds * RATE))
    for number, place in enumerate(places):
        first, ring = round(place * RATE), chime(20 + number)
        sound[first : first + ring.size] += ring
    soundfile.write(folder / "bell.wav", sound, RATE)
    return folder / "bell.wav"


def test_a_taught_sound_is_an_event_of_its_own_and_in_the_caption(taught: Path) -> None:
    options: dict[str, Any] = {"speed": 0, "on": "end", "gate": "off", "hop": 4.0}
    events = [*package.listen(file=str(bell_at(taught, 9.0)), **options)]
    [own] = [event for event in events if event.named]
    assert (own.text, own.named) == ("our doorbell", "our-doorbell")
    assert abs(own.start - 9.0) < 1.0
    assert 0.5 <= own.confidence < 1.0
    captioned = [event for event in events if event.sounds and not event.named]
    assert all("our doorbell" in event.text for event in captioned)
    ignored = package.listen(file=str(bell_at(taught, 9.0)), ignore=["our doorbell"], **options)
    assert not [event for event in ignored if event.named]


def test_a_model_without_a_bank_listens_without_them(taught: Path, tiny_folder: Path) -> None:
    messages: list[str] = []
    listening = package.listen(
        file=str(bell_at(taught, 1.0, seconds=3.0)),
        speed=0,
        model=str(tiny_folder),
        tell=lambda _kind, message: messages.append(message),
    )
    assert not [event for event in listening if event.named]
    assert any("taught sounds are not recognised: there is no bank" in message for message in messages)
