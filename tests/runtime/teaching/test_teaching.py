"""Teaching a sound with the package's model: what is learnt, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgecap.errors import AudioError, ConfigError, DataError
from edgecap.sounds.bank import Bank, load_bank
from edgecap.sounds.sound import TaughtSound
from edgecap.sounds.store import SoundStore
from edgecap.teaching.examples import SoundExample, example_of, read_examples
from edgecap.teaching.learn import learn
from edgecap.teaching.lesson import TeachRequest, teach_sound
from edgecap.teaching.onsets import OnsetCutter
from edgecap.teaching.ready import with_taught_sounds
from edgecap.teaching.trial import try_folder
from support.teaching.taught_sounds import RATE, chime, rasp, shipped_captioner

HOUR = 1.0


def examples(*sounds: np.ndarray) -> list[SoundExample]:
    return [example_of(shipped_captioner(), sound, f"{number}.wav") for number, sound in enumerate(sounds)]


@pytest.fixture
def store(tmp_path: Path) -> SoundStore:
    return SoundStore(tmp_path / "sounds")


@pytest.fixture(scope="module")
def bank() -> Bank:
    return load_bank(shipped_captioner().bundle)


def silent(_kind: str, _message: str) -> None:
    """Takes messages."""


def test_a_taught_sound_is_found_inside_ten_seconds_of_another(store: SoundStore) -> None:
    lesson = teach_sound(
        shipped_captioner(),
        store,
        TeachRequest("our doorbell", HOUR),
        examples(*(chime(number) for number in range(5))),
    )
    assert lesson.notes == ()
    captioner = with_taught_sounds(shipped_captioner(), store.folder, silent)
    sound = np.random.default_rng(9).normal(0.0, 0.003, 10 * RATE).astype(np.float32)
    other = captioner.caption(sound, RATE)
    sound[5 * RATE : 5 * RATE + chime().size] += chime(77)
    caption = captioner.caption(sound, RATE)
    assert other.sounds == ()
    (match,) = caption.sounds
    assert (match.name, match.identifier) == ("our doorbell", "our-doorbell")
    assert 3.0 < match.start < 6.5
    assert 0.5 <= match.confidence <= 1.0


def test_one_example_works(store: SoundStore) -> None:
    teach_sound(shipped_captioner(), store, TeachRequest("bell", HOUR), examples(chime(1)))
    captioner = with_taught_sounds(shipped_captioner(), store.folder, silent)
    assert [match.name for match in captioner.caption(chime(2), RATE).sounds] == ["bell"]
    assert captioner.caption(rasp(), RATE).sounds == ()


def test_an_odd_example_is_named(bank: Bank) -> None:
    mixed = examples(chime(1), chime(2), rasp(), chime(3))
    with pytest.raises(DataError, match=r"^2\.wav does not resemble the other examples"):
        learn("bell", mixed, (), bank, false_alarms=HOUR)
    with pytest.raises(DataError, match=r"^0\.wav and 1\.wav do not resemble each other"):
        learn("bell", examples(chime(1), rasp()), (), bank, false_alarms=HOUR)


def test_a_sound_too_much_like_another_is_told_with_the_confusion(store: SoundStore) -> None:
    taught = examples(chime(1), chime(2), chime(3))
    teach_sound(shipped_captioner(), store, TeachRequest("bell", HOUR), taught)
    with pytest.raises(ConfigError, match="'gong' is too much like 'bell': 3 of its 3 examples are taken for that"):
        teach_sound(shipped_captioner(), store, TeachRequest("gong", HOUR), taught)
    assert [sound.name for sound in store.load().sounds] == ["bell"]
    teach_sound(shipped_captioner(), store, TeachRequest("gong", HOUR, force=True), taught)


def test_silence_and_what_is_too_short_or_too_long_is_refused() -> None:
    for sound, words in (
        (np.zeros(RATE, np.float32), "is silent"),
        (chime()[:800], r"an example needs 0\.1 s"),
        (np.tile(chime(), 60), "at most 60 s"),
    ):
        with pytest.raises(AudioError, match=words):
            examples(sound)


def test_more_examples_are_added_and_a_taken_name_is_refused(store: SoundStore) -> None:
    captioner = shipped_captioner()
    teach_sound(captioner, store, TeachRequest("bell", HOUR, keep=True), examples(chime(1)))
    with pytest.raises(ConfigError, match="there is a sound called 'bell' already"):
        teach_sound(captioner, store, TeachRequest("bell", HOUR), examples(chime(2)))
    lesson = teach_sound(captioner, store, TeachRequest("bell", HOUR, more=True), examples(chime(2)), examples(rasp()))
    assert (len(lesson.sound.examples), len(lesson.sound.counter_examples), lesson.sound.recordings) == (2, 1, 2)
    with pytest.raises(DataError, match="there is no sound called 'gong'"):
        teach_sound(captioner, store, TeachRequest("gong", HOUR, more=True), examples(chime(2)))


def test_a_sound_of_another_model_is_learnt_again_from_kept_examples_or_told(store: SoundStore) -> None:
    lesson = teach_sound(
        shipped_captioner(), store, TeachRequest("bell", HOUR, keep=True), examples(chime(1), chime(2))
    )
    sound = lesson.sound
    foreign = TaughtSound(
        sound.name, sound.identifier, "1" * 64, 0.5, 0.9, (np.ones((3, 5), np.float32),), false_alarms=HOUR
    )
    store.save(foreign, store.recordings("bell"), replace_old=True)
    store.save(TaughtSound("gong", "gong", "1" * 64, 0.5, 0.9, (np.ones((3, 5), np.float32),)))
    messages: list[tuple[str, str]] = []
    captioner = with_taught_sounds(shipped_captioner(), store.folder, lambda kind, text: messages.append((kind, text)))
    assert sorted(kind for kind, _ in messages) == ["note", "warning"]
    assert any("'gong' was taught with another model and is not recognised" in text for _, text in messages)
    assert captioner.matcher is not None
    assert [sound.name for sound in captioner.matcher.sounds] == ["bell"]
    assert store.get("bell").threshold == pytest.approx(sound.threshold, rel=0.1)
    assert [match.name for match in captioner.caption(chime(5), RATE).sounds] == ["bell"]


def test_a_sound_taught_with_an_older_bank_gets_the_threshold_of_this_one(store: SoundStore, bank: Bank) -> None:
    taught = examples(chime(1), chime(2))
    sound = teach_sound(shipped_captioner(), store, TeachRequest("bell", HOUR, keep=True), taught).sound
    store.save(replace(sound, threshold=1e6, typical=1e6, bank="older"), store.recordings("bell"), replace_old=True)
    captioner = with_taught_sounds(shipped_captioner(), store.folder, silent)
    assert [match.name for match in captioner.caption(chime(5), RATE).sounds] == ["bell"]
    stored = store.get("bell")
    assert stored.threshold == pytest.approx(sound.threshold, rel=0.01)
    assert (stored.bank, stored.recordings, stored.created) == (bank.identity, 2, sound.created)


def test_a_folder_of_recordings_is_tried(store: SoundStore, tmp_path: Path) -> None:
    for name, sounds in (("bell", [chime(6), chime(7)]), ("other", [rasp()])):
        (tmp_path / "test" / name).mkdir(parents=True)
        for number, sound in enumerate(sounds):
            soundfile.write(tmp_path / "test" / name / f"{number}.wav", sound, RATE)
    teach_sound(shipped_captioner(), store, TeachRequest("bell", HOUR), examples(chime(1), chime(2)))
    captioner = with_taught_sounds(shipped_captioner(), store.folder, silent)
    lines: list[str] = []
    trial = try_folder(captioner, tmp_path / "test", lines.append)
    assert trial.summary(False) == ["bell: 2 of 2 recordings recognised, heard in 0 of 1 other files"]
    assert [line.split(" ")[0] for line in lines] == ["bell/0.wav:", "bell/1.wav:", "other/0.wav:"]
    with pytest.raises(DataError, match="no sound is taught"):
        try_folder(shipped_captioner(), tmp_path, lines.append)


def test_examples_are_read_from_files_and_a_long_one_gives_its_loudest_window(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).normal(0.0, 0.0005, 30 * RATE).astype(np.float32)
    sound[20 * RATE : 20 * RATE + chime().size] += chime(1)
    soundfile.write(tmp_path / "long.flac", sound, RATE)
    (example,) = read_examples(shipped_captioner(), [tmp_path / "long.flac"])
    assert example.samples.size == 10 * RATE
    assert 3 <= len(example.frames) <= 6


def test_sounds_are_cut_where_they_rise_out_of_the_room() -> None:
    cutter, room = OnsetCutter(RATE), np.random.default_rng(0).normal(0.0, 0.001, 12 * RATE).astype(np.float32)
    for second in (3, 7):
        room[second * RATE : second * RATE + chime().size] += chime(second)
    sounds = [sound for start in range(0, room.size, 1_000) for sound in cutter.push(room[start : start + 1_000])]
    assert [0.8 < sound.size / RATE < 2.2 for sound in sounds] == [True, True]
    assert cutter.usual == pytest.approx(-60.0, abs=1.5)
