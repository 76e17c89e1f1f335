"""What is taught, renamed and removed while edgecap listens counts from then on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from edgecap.sounds.bank import frame_embeddings
from edgecap.sounds.store import SoundStore
from edgecap.teaching.examples import example_of
from edgecap.teaching.lesson import TeachRequest, teach_sound
from edgecap.teaching.watched import WatchedSounds
from edgecap_bench.live.virtual_microphone import VirtualMicrophone
from support.live_parts import Messages, notifier
from support.mqtt_parts import eventually
from support.teaching.taught_sounds import RATE, chime, shipped_captioner
from support.virtual_microphone import PATIENCE, listen, next_event, until


def teach(store: SoundStore, name: str, *, more: bool = False, first: int = 0) -> None:
    examples = [example_of(shipped_captioner(), chime(first + number), str(number)) for number in range(2)]
    teach_sound(shipped_captioner(), store, TeachRequest(name, 1.0, more=more, force=not more), examples)


@pytest.fixture
def store(tmp_path: Path) -> SoundStore:
    return SoundStore(tmp_path / "sounds")


@pytest.fixture
def messages() -> Messages:
    return []


@pytest.fixture
def watched(store: SoundStore, messages: Messages) -> Iterator[WatchedSounds]:
    watching = WatchedSounds(shipped_captioner(), store, notifier(messages))
    yield watching
    watching.close()


def names(watched: WatchedSounds) -> list[str]:
    return [sound.name for sound in watched.sounds]


def test_what_happens_in_the_folder_counts_at_once(
    watched: WatchedSounds, store: SoundStore, messages: Messages
) -> None:
    assert (watched.look(), names(watched), messages) == (False, [], [])
    frames = frame_embeddings(shipped_captioner().encode_samples(chime(9)))
    assert watched.match(frames) == ()
    teach(store, "bell")
    eventually(watched.look)
    assert [match.name for match in watched.match(frames)] == ["bell"]
    teach(store, "bell", more=True, first=2)
    eventually(watched.look)
    store.rename("bell", "gong")
    eventually(watched.look)
    assert [match.name for match in watched.match(frames)] == ["gong"]
    store.remove("gong")
    eventually(watched.look)
    assert (names(watched), watched.match(frames), watched.look()) == ([], (), False)
    assert [message for _, message in messages] == [
        "recognised from now on: 'bell'",
        "learnt anew: 'bell'",
        "recognised from now on: 'gong'; no longer recognised: 'bell'",
        "no longer recognised: 'gong'",
    ]


def test_a_damaged_file_is_told_once_and_the_others_are_recognised(
    watched: WatchedSounds, store: SoundStore, messages: Messages
) -> None:
    teach(store, "bell")
    (store.folder / "gong.sound").write_bytes(b"no archive")
    eventually(lambda: watched.look() and names(watched) == ["bell"])
    teach(store, "buzzer")
    eventually(lambda: watched.look() and names(watched) == ["bell", "buzzer"])
    watched.close()
    assert [message.split(" (")[0] for kind, message in messages if kind == "warning"] == [
        f"{store.folder / 'gong.sound'} is damaged"
    ]


def test_files_that_stay_the_same_are_not_read_again(
    watched: WatchedSounds, store: SoundStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(store, "bell")
    eventually(watched.look)
    monkeypatch.setattr(SoundStore, "load", lambda _store: pytest.fail("it was read"))
    (store.folder / ".bell.sound.part").touch()
    (store.folder / "notes.txt").touch()
    assert not watched.look()
    watched.close()
    assert "edgecap sounds" not in {thread.name for thread in threading.enumerate()}


def test_a_microphone_hears_what_is_taught_meanwhile(microphone: VirtualMicrophone, tmp_path: Path) -> None:
    shipped_captioner()
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", chime(number), RATE)
    microphone.environment["EDGECAP_SOUNDS"] = str(tmp_path / "sounds")
    listening = listen(microphone, shipped_captioner().bundle.folder, "--json", "--only", "our doorbell")
    until(listening, "listening to")
    teach(SoundStore(tmp_path / "sounds"), "our doorbell")
    until(listening, "recognised from now on: 'our doorbell'")
    microphone.play(tmp_path / "2.wav")
    event = next_event(listening)
    listening.terminate()
    listening.communicate(timeout=PATIENCE)
    assert (event["text"], event["named"]) == ("our doorbell", "our-doorbell")
