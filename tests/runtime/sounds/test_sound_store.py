"""The folder of taught sounds: what is written is read again, and no failure touches what was there."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecap.errors import ConfigError, DataError, OutputError
from edgecap.sounds.archive import read_archive, write_archive
from edgecap.sounds.sound import TaughtSound
from edgecap.sounds.sound_file import FORMAT, VERSION
from edgecap.sounds.store import SoundStore, sounds_folder

SOUND = TaughtSound(
    name="our doorbell",
    identifier="our-doorbell",
    model="0" * 64,
    threshold=0.5,
    typical=0.9,
    examples=(np.ones((3, 8), np.float32), np.zeros((2, 8), np.float32)),
    counter_examples=(np.full((4, 8), 2, np.float32),),
    created="2026-11-28T12:00:00+00:00",
)


@pytest.fixture
def store(tmp_path: Path) -> SoundStore:
    return SoundStore(tmp_path / "sounds")


def test_what_is_saved_is_read_again(store: SoundStore) -> None:
    store.save(SOUND, [b"first", b"second"])
    sound = store.get("our doorbell")
    assert [example.tolist() for example in sound.examples] == [example.tolist() for example in SOUND.examples]
    assert sound.counter_examples[0].tolist() == SOUND.counter_examples[0].tolist()
    assert (sound.name, sound.model, sound.threshold, sound.recordings) == ("our doorbell", "0" * 64, 0.5, 2)
    assert store.recordings("our-doorbell") == (b"first", b"second")


def test_a_taken_name_is_refused_and_the_old_sound_stays(store: SoundStore) -> None:
    store.save(SOUND)
    with pytest.raises(ConfigError, match="there is a sound called 'Our Doorbell' already"):
        store.save(replace(SOUND, name="Our Doorbell", threshold=0.9))
    assert store.get("our doorbell").threshold == 0.5


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"threshold": 10**400}, "is no sound"),
        ({"threshold": float("nan")}, "is no sound"),
        ({"typical": "0.9"}, "is no sound"),
        ({"name": "a\x1b[2Jb"}, "is no sound"),
        ({"example-000": np.ones((3, 8), np.int8)}, "is no sound"),
        ({"example-000": np.full((3, 8), np.inf, np.float16)}, "is no sound"),
        ({"example-000": np.ones((3, 9), np.float16)}, "is no sound"),
        ({"bank": "x" * (1 << 18)}, "is damaged"),
    ],
)
def test_what_a_stranger_hashed_anew_is_refused_in_one_line(
    store: SoundStore, change: dict[str, Any], reason: str
) -> None:
    path = store.save(SOUND, [b"recorded"])
    document, arrays = read_archive(path, FORMAT, VERSION, "")
    for key, value in change.items():
        (arrays if key in arrays else document)[key] = value
    write_archive(path, FORMAT, VERSION, document, arrays)
    (fault,) = store.load().faults
    assert reason in fault
    assert fault.isprintable()


def test_a_damaged_file_is_named_and_the_others_are_read(store: SoundStore) -> None:
    store.save(SOUND)
    path = store.save(replace(SOUND, name="mixer"))
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), 7):
        path.write_bytes(bytes([*data[:place], data[place] ^ 0x55, *data[place + 1 :]]))
        stored = store.load()
        assert [sound.name for sound in stored.sounds if sound.name != "mixer"] == ["our doorbell"]
        assert all("mixer.sound" in fault for fault in stored.faults)
    path.write_bytes(data[: len(data) // 2])
    assert len(store.load().faults) == 1


def test_renaming_moves_the_file_with_its_recordings(store: SoundStore) -> None:
    store.save(SOUND, [b"audio"])
    store.rename("our doorbell", "Front door")
    assert [sound.name for sound in store.load().sounds] == ["Front door"]
    assert store.recordings("front door") == (b"audio",)
    store.rename("front door", "front DOOR")
    assert [sound.name for sound in store.load().sounds] == ["front DOOR"]


def test_renaming_to_a_taken_name_changes_nothing(store: SoundStore) -> None:
    store.save(SOUND)
    store.save(replace(SOUND, name="mixer"))
    with pytest.raises(ConfigError, match="already"):
        store.rename("mixer", "our doorbell")
    assert [sound.name for sound in store.load().sounds] == ["mixer", "our doorbell"]


def test_an_exported_sound_is_imported_elsewhere(store: SoundStore, tmp_path: Path) -> None:
    store.save(SOUND, [b"audio"])
    path = store.export("our doorbell", tmp_path)
    assert path.name == "our-doorbell.sound"
    other = SoundStore(tmp_path / "other")
    assert other.import_file(path, name="bell").name == "bell"
    assert other.recordings("bell") == (b"audio",)
    with pytest.raises(ConfigError, match="already"):
        other.import_file(path, name="bell")


def test_a_pipe_a_device_and_a_folder_are_no_sounds(store: SoundStore, tmp_path: Path) -> None:
    store.save(SOUND)
    pipe = store.folder / "pipe.sound"
    os.mkfifo(pipe)
    assert [sound.name for sound in store.load().sounds] == ["our doorbell"]
    assert store.load().faults == (f"{pipe} is not a regular file; remove the file, and teach the sound again",)
    for path in (pipe, Path("/dev/null"), tmp_path):
        with pytest.raises(DataError, match="is not a regular file; name one that edgecap sounds export wrote"):
            store.import_file(path)


def test_a_sound_that_is_not_there_is_answered_with_those_that_are(store: SoundStore) -> None:
    store.save(SOUND)
    for action in (store.get, store.remove, store.recordings):
        with pytest.raises(DataError, match=r"there is no sound called 'bell' in .*; known: 'our doorbell'"):
            action("bell")
    store.remove("our doorbell")
    assert store.load().sounds == ()


def test_a_full_disk_leaves_what_was_learnt(store: SoundStore) -> None:
    store.save(SOUND)
    full = SoundStore(Path("/dev/full/sounds"))
    with pytest.raises(OutputError):
        full.save(SOUND)
    assert store.get("our doorbell").threshold == 0.5


def test_the_folder_is_the_environments_or_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGECAP_SOUNDS", raising=False)
    monkeypatch.setenv("EDGECAP_HOME", str(tmp_path))
    assert sounds_folder() == tmp_path / "sounds"
    monkeypatch.setenv("EDGECAP_SOUNDS", str(tmp_path / "elsewhere"))
    assert sounds_folder() == tmp_path / "elsewhere"
