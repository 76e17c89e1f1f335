"""What equipment does to sound, measured on sounds made here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgecap.types import Waveform
from edgecap_train.data.equipment import Equipment, EquipmentConfig

RATE = 16_000
DEVICES = ("_room", "_noise", "_gain_control", "_clipping", "_band", "_telephone", "_mp3")
ALWAYS = dict.fromkeys(("room", "noise", "gain_control", "clipping", "band", "telephone", "mp3"), 1.0)


def sound(seconds: float = 3.0) -> Waveform:
    """A tone of 1 kHz that is loud in its second half, over faint noise."""
    time = np.arange(round(seconds * RATE)) / RATE
    loudness = np.where(time < seconds / 2, 0.02, 0.4)
    noise = 0.001 * np.random.default_rng(1).standard_normal(time.size)
    return np.asarray(loudness * np.sin(2 * np.pi * 1_000 * time) + noise, np.float32)


def device(name: str, seed: int = 0, **options: tuple[float, float]) -> Callable[[Waveform, int], Waveform]:
    made: Callable[[Waveform, int], Waveform] = getattr(
        Equipment(EquipmentConfig(**options), np.random.default_rng(seed)),  # type: ignore[arg-type]
        name,
    )
    return made


def power(samples: Waveform, low: float, high: float) -> float:
    """Mean power between two frequencies in hertz."""
    spectrum = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    frequency = np.fft.rfftfreq(samples.size, 1 / RATE)
    return float(spectrum[(frequency >= low) & (frequency < high)].sum() / samples.size**2 * 2)


@pytest.mark.parametrize("name", DEVICES)
def test_each_device_changes_the_sound_and_keeps_its_length(name: str) -> None:
    samples = sound()
    recorded = device(name)(samples, RATE)
    assert recorded.shape == samples.shape
    assert recorded.dtype == np.float32
    assert np.isfinite(recorded).all()
    assert float(np.abs(recorded - samples).max()) > 1e-3


def test_the_same_generator_draws_the_same_equipment_and_some_scenes_stay_as_they_are() -> None:
    samples = sound(1.0)
    first, second = (Equipment(EquipmentConfig(untouched=0.5), np.random.default_rng(3)) for _ in range(2))
    recorded = [first.record(samples, RATE) for _ in range(20)]
    assert all(np.array_equal(one, second.record(samples, RATE)) for one in recorded)
    untouched = sum(np.array_equal(one, samples) for one in recorded)
    assert 3 < untouched < 17


def test_everything_at_once_stays_within_full_scale() -> None:
    config = EquipmentConfig(untouched=0.0, **ALWAYS)  # type: ignore[arg-type]
    equipment = Equipment(config, np.random.default_rng(0))
    for _ in range(4):
        assert float(np.abs(equipment.record(sound(), RATE)).max()) <= 1.0


def test_a_recorder_adds_the_noise_that_was_drawn() -> None:
    samples = sound()
    added = device("_noise", signal_to_noise=(10.0, 10.0))(samples, RATE) - samples
    assert 10 * np.log10(np.mean(samples**2) / np.mean(added**2)) == pytest.approx(10.0, abs=0.1)


def test_a_telephone_has_no_lows_and_no_highs() -> None:
    noise = np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32) * 0.1
    recorded = device("_telephone")(noise, RATE)
    passed = power(recorded, 1_000, 2_000) / 1_000
    assert power(recorded, 0, 80) / 80 < 0.02 * passed
    assert power(recorded, 4_500, 8_000) / 3_500 < 0.02 * passed


def test_automatic_gain_brings_quiet_and_loud_parts_together() -> None:
    samples = sound()
    recorded = device("_gain_control")(samples, RATE)

    def contrast(waveform: Waveform) -> float:
        quiet, loud = np.split(waveform, 2)
        return float(np.sqrt(np.mean(loud**2) / np.mean(quiet**2)))

    assert contrast(recorded) < 0.6 * contrast(samples)


def test_a_room_goes_on_after_the_sound_has_ended() -> None:
    samples = np.zeros(RATE, np.float32)
    samples[1_000] = 1.0
    recorded = device("_room", decay=(0.5, 0.5))(samples, RATE)
    assert float(np.sum(recorded[1_600:6_000] ** 2)) > 1e-3
    assert float(np.sum(recorded[:1_000] ** 2)) < 1e-6
