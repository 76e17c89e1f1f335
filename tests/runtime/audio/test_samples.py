"""Arrays of samples are taken in the forms people have, checked, and measured."""

from __future__ import annotations

import numpy as np
import pytest

from edgecap.audio.resample import Resampler, resampled
from edgecap.audio.samples import as_float, check_values, loudest_level, to_int16, to_mono
from edgecap.errors import AudioError
from support.signals import RATE, noise, tone


@pytest.mark.parametrize(
    ("kind", "half"), [("int16", 2**14), ("int32", 2**30), ("uint8", 128 + 64), ("float64", 0.5), ("float16", 0.5)]
)
def test_each_sample_type_has_its_own_full_scale(kind: str, half: float) -> None:
    samples = as_float(np.full(10, half, kind))
    assert samples.shape == (10, 1)
    assert samples.dtype == np.float32
    assert samples[0, 0] == 0.5


def test_16_bit_integers_come_back_and_too_large_values_are_clipped() -> None:
    integers = np.array([-(2**15), -1, 0, 1, 2**15 - 1], np.int16)
    assert to_int16(as_float(integers)[:, 0]).tolist() == integers.tolist()
    assert to_int16(np.array([-1.5, 1.0, 1.5], np.float32)).tolist() == [-(2**15), 2**15 - 1, 2**15 - 1]


def test_a_list_of_numbers_is_taken() -> None:
    assert as_float([0.0, 0.5]).tolist() == [[0.0], [0.5]]


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(10, np.int64), "no known full scale"),
        (np.zeros(10, bool), "no known full scale"),
        (np.zeros(10, complex), "no known full scale"),
        (np.zeros((2, 16_000), np.float32), r"samples\.T"),
        (np.zeros((2, 2, 2), np.float32), "shape"),
        (np.float32(1.0), "shape"),
        (np.zeros((10, 0), np.float32), "shape"),
        (np.zeros(0, np.float32), "no samples"),
    ],
)
def test_other_arrays_are_refused_with_the_reason(samples: np.ndarray, reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        as_float(samples)


@pytest.mark.parametrize(
    ("value", "word"),
    [(np.nan, "not a number"), (np.inf, "infinite"), (-np.inf, "infinite"), (32767.0, "far over full scale")],
)
def test_the_first_invalid_sample_is_named(value: float, word: str) -> None:
    block = np.zeros((100, 2), np.float32)
    block[40:, 1] = value
    with pytest.raises(AudioError, match=rf"sample 1040 of channel 2 \(0\.065 s\).*{word}"):
        check_values(block, RATE, 1000)


def test_ordinary_samples_pass() -> None:
    check_values(as_float(noise(1, level=0.3)), RATE)
    check_values(np.empty((0, 2), np.float32), RATE)


def test_channels_are_averaged() -> None:
    assert to_mono(np.array([[1.0, 0.0], [0.5, 0.5]], np.float32)).tolist() == [0.5, 0.5]


def test_a_full_scale_sine_is_at_minus_three_decibels() -> None:
    assert loudest_level(tone(2, level=1.0), RATE) == pytest.approx(-3.01, abs=0.01)


def test_the_loudest_block_counts_wherever_it_is() -> None:
    for start in (0, 5_000, 2 * RATE - 1600):
        samples = np.zeros(2 * RATE, np.float32)
        samples[start : start + 1600] = tone(0.1, level=1.0)
        assert loudest_level(samples, RATE) > -6.0


def test_digital_silence_and_a_constant_offset_are_at_the_floor() -> None:
    assert loudest_level(np.zeros(RATE, np.float32), RATE) == -120.0
    assert loudest_level(np.full(RATE, 0.25, np.float32), RATE) == -120.0
    assert loudest_level(np.zeros(1, np.float32), RATE) == -120.0


@pytest.mark.parametrize("offset", [0.0, 0.5, -10.0])
def test_a_long_sound_has_the_level_of_its_loudest_block_beside_any_constant_offset(offset: float) -> None:
    quiet = noise(10, level=1e-3)
    for start in (0, 71 * 1600, 99 * 1600):
        samples = quiet.copy()
        samples[start : start + 1600] *= np.float32(1.5)
        samples += np.float32(offset)
        blocks = samples.reshape(-1, 1600)
        loudest = max(loudest_level(block, RATE) for block in blocks)
        assert loudest_level(samples, RATE) == loudest
    assert loudest_level(np.full(10 * RATE, 0.25, np.float32), RATE) == -120.0


@pytest.mark.parametrize("rate", [100, 8_000, 22_050, 44_100, 48_000, 192_000])
def test_resampling_keeps_the_length_and_does_not_depend_on_the_blocks(rate: int) -> None:
    samples = noise(2, rate=rate)
    at_once = np.concatenate(list(resampled([samples], rate, RATE)))
    parts = np.concatenate(list(resampled(np.array_split(samples, 17), rate, RATE)))
    assert at_once.size == 2 * RATE
    assert np.array_equal(at_once, parts)


def test_resampling_keeps_a_tone_and_removes_what_would_fold_back() -> None:
    low, high = (
        np.concatenate(list(resampled([tone(1, 48_000, frequency, 0.5)], 48_000, RATE)))
        for frequency in (1_000, 12_000)
    )
    spectrum = np.abs(np.fft.rfft(low))
    assert int(spectrum.argmax()) == 1_000
    assert np.sqrt(np.mean(low**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)
    assert np.abs(high[1000:-1000]).max() < 1e-4


def test_less_than_one_new_sample_becomes_one() -> None:
    assert np.concatenate(list(resampled([np.zeros(1, np.float32)], 192_000, RATE))).size == 1


@pytest.mark.parametrize("rate", [0, -1, 99, 2_000_000, float("nan"), float("inf")])
def test_a_rate_that_no_sound_has_is_refused(rate: float) -> None:
    with pytest.raises(AudioError, match="sample rate"):
        Resampler(rate, RATE)
