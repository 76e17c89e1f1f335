"""Taught sounds in windows of embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecap.captioner import Captioner
from edgecap.errors import ConfigError, DataError
from edgecap.sounds.bank import load_bank, read_bank, segments_of, unit, write_bank
from edgecap.sounds.detector import Detector, stretches_of
from edgecap.sounds.matcher import SoundMatcher
from edgecap.sounds.rates import parse_rate, show_rate
from edgecap.sounds.sound import TaughtSound
from support.teaching.taught_sounds import WIDTH, plain_bank, shipped_captioner

BELL = np.eye(WIDTH, dtype=np.float32)[[0, 0, 0, 1, 1]]
PHONE = np.eye(WIDTH, dtype=np.float32)[[0, 0, 0, 0, 0]]


def taught(name: str, *examples: np.ndarray, counter: tuple[np.ndarray, ...] = ()) -> TaughtSound:
    """A sound that is heard where one of the bank's windows in ten would be as like."""
    return TaughtSound(name, name, "0" * 64, 0.0, 50.0, examples, counter)


def window(*parts: np.ndarray) -> np.ndarray:
    """Ten frames of another sound, with parts from frame 4 on."""
    frames = np.tile(np.eye(WIDTH, dtype=np.float32)[7], (10, 1))
    inside = np.concatenate(parts) if parts else frames[:0]
    frames[4 : 4 + len(inside)] = inside
    return frames


def test_a_short_sound_is_found_inside_a_longer_one_with_its_time() -> None:
    matcher = SoundMatcher([taught("bell", BELL)], plain_bank())
    (match,) = matcher.match(window(BELL))
    assert match.name == "bell"
    assert (match.start, match.end) == pytest.approx((4 * 0.32, 9 * 0.32))
    assert 0.6 < match.confidence < 1.0
    assert matcher.match(window()) == ()


def test_the_surest_of_two_sounds_comes_first() -> None:
    matcher = SoundMatcher([taught("phone", PHONE), taught("bell", BELL)], plain_bank())
    assert [match.name for match in matcher.match(window(BELL))] == ["bell", "phone"]


def test_a_counter_example_takes_away_what_is_more_like_it() -> None:
    plain = SoundMatcher([taught("bell", BELL)], plain_bank())
    sharper = SoundMatcher([taught("bell", BELL, counter=(PHONE,))], plain_bank())
    assert len(plain.match(window(PHONE))) == 1
    assert sharper.match(window(PHONE)) == ()
    assert len(sharper.match(window(BELL))) == 1


def test_a_sound_of_another_model_is_left_out() -> None:
    foreign = TaughtSound("bell", "bell", "1" * 64, 0.5, 1.0, (BELL,))
    assert SoundMatcher([foreign], plain_bank()).sounds == ()


def test_a_window_shorter_than_the_sound_is_compared_as_it_is() -> None:
    matcher = SoundMatcher([taught("bell", BELL)], plain_bank())
    assert matcher.match(BELL[:1])[0].end == pytest.approx(0.32)
    assert matcher.match(BELL[:0]) == ()


def test_segments_are_means_over_every_stretch() -> None:
    frames = np.arange(12, dtype=np.float32).reshape(6, 2)
    expected = unit(np.stack([frames[start : start + 3].mean(axis=0) for start in range(4)]))
    assert segments_of(frames, 3) == pytest.approx(expected, abs=1e-5)


def test_a_rarer_false_alarm_needs_a_higher_threshold_beyond_what_the_bank_holds() -> None:
    bank = plain_bank()
    detector = Detector([BELL], (), bank)
    highest = detector.highest(stretches_of(bank.windows.astype(np.float32) / 127.0))
    often, hour, day, month = (detector.threshold(rate) for rate in (1e4, 1.0, 1 / 24, 1 / 730))
    assert often == pytest.approx(float(np.median(highest)), abs=1e-3)
    assert often < np.quantile(highest, 0.9) < hour < day < month
    # an exponential tail: each factor of the rate adds the same
    assert (month - day) / (day - hour) == pytest.approx(np.log(730 / 24) / np.log(24), rel=1e-3)


def test_a_bank_is_read_as_it_was_written(tmp_path: Path) -> None:
    bank = plain_bank(20)
    path = write_bank(tmp_path, bank)
    read = read_bank(path)
    assert (read.windows == bank.windows).all()
    assert read.seconds_per_frame == bank.seconds_per_frame
    data = path.read_bytes()
    path.write_bytes(data[:-40])
    with pytest.raises(DataError, match="damaged"):
        read_bank(path)


def test_the_package_has_a_bank_for_its_model_with_the_licence_of_each_set() -> None:
    bank = load_bank(shipped_captioner().bundle)
    assert bank.sets
    assert all(entry["licence"] and entry["source"] for entry in bank.sets)
    assert not any("NC" in str(entry["licence"]) for entry in bank.sets)


def test_a_model_without_a_bank_is_refused_with_what_to_type(captioner: Captioner) -> None:
    with pytest.raises(DataError, match=r"no bank of unrelated sounds for the model 'tiny' .*make_bank --help"):
        load_bank(captioner.bundle)


@pytest.mark.parametrize(("text", "rate"), [("1/day", 1 / 24), ("2/hour", 2.0), ("0.5 / week", 0.5 / 168)])
def test_rates_are_read_and_shown(text: str, rate: float) -> None:
    assert parse_rate(text) == pytest.approx(rate)
    assert parse_rate(show_rate(rate)) == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize("text", ["", "often", "0/day", "1/year", "-1/day", "1000/hour", "nan/day"])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="use a number and hour, day, week or month"):
        parse_rate(text)
