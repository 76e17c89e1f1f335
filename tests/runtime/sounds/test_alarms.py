"""Smoke and carbon-monoxide alarms are recognised by their pattern in time, and other beeps are not."""

from __future__ import annotations

import numpy as np
import pytest

from edgecap.audio.frontend import FrontEnd
from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import find_model
from edgecap.live.pipeline.stream import MelStream
from edgecap.sounds.alarm_patterns import PATTERNS, T3, T4, AlarmPattern
from edgecap.sounds.alarms import AlarmDetector, AlarmHeard
from edgecap.types import Waveform
from edgecap_bench.alarms.signals import SOUNDERS, alarm, mixed

RATE = 16_000


@pytest.fixture(scope="module", params=["tiny", "effb2-trm"])
def front_end(request: pytest.FixtureRequest) -> FrontEnd:
    return load_bundle(find_model(request.param)).manifest.front_end


def heard(sound: Waveform, front_end: FrontEnd, block: int = 4000) -> list[AlarmHeard]:
    stream, detector, recognised = MelStream(front_end, 1201), AlarmDetector(front_end), list[AlarmHeard]()
    for start in range(0, sound.size, block):
        count = stream.push(sound[start : start + block])
        recognised += detector.push(stream.newest(count), min(sound.size, start + block) / RATE)
    return recognised


def noise(seconds: float, seed: int) -> Waveform:
    """Noise that falls by 6 dB an octave, as traffic does."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(round(seconds * RATE)))
    brown = np.fft.irfft(spectrum / np.maximum(50.0, np.arange(spectrum.size) / seconds), round(seconds * RATE))
    return np.asarray(0.1 * brown / brown.std(), np.float32)


def beeps(*times: tuple[float, float], seconds: float) -> Waveform:
    """A piezo that sounds from and to these times, over noise."""
    place = np.arange(round(seconds * RATE)) / RATE
    on = np.any([(place >= first) & (place < last) for first, last in times], axis=0)
    return np.asarray(0.2 * on * np.sin(2 * np.pi * 3100 * place) + 0.1 * noise(seconds, 1), np.float32)


@pytest.mark.parametrize("sounder", SOUNDERS)
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.identifier)
def test_each_pattern_is_recognised_as_loud_as_what_is_around_it(
    pattern: AlarmPattern, sounder: str, front_end: FrontEnd
) -> None:
    random = np.random.default_rng(7)
    made = alarm(pattern, sounder, 30.0, RATE, random)
    recognised = heard(mixed(made, noise(30.0, 2), 0.0, random), front_end)
    assert {each.pattern for each in recognised} == {pattern}
    first = int(made.sounding.argmax()) / RATE
    assert recognised[0].start == pytest.approx(first, abs=pattern.period + 0.2)
    assert recognised[0].end <= first + 4 * pattern.period


def test_two_groups_are_an_alarm_and_one_is_not(front_end: FrontEnd) -> None:
    group = [(2.0 + pulse, 2.5 + pulse) for pulse in range(3)]
    assert heard(beeps(*group, seconds=12.0), front_end) == []
    second = [(first + 4.0, last + 4.0) for first, last in group]
    [alarm_heard] = heard(beeps(*group, *second, seconds=12.0), front_end, block=12 * RATE)
    assert alarm_heard.pattern is T3
    assert (alarm_heard.start, alarm_heard.end) == pytest.approx((2.0, 8.5), abs=0.15)


@pytest.mark.parametrize(
    ("on", "off", "pulses", "pause"),
    [
        pytest.param(0.5, 0.5, 40, 0.0, id="lorry"),
        pytest.param(0.06, 0.06, 4, 0.5, id="clock"),
        pytest.param(0.5, 0.5, 4, 1.5, id="four"),
        pytest.param(0.5, 0.5, 2, 1.5, id="two"),
        pytest.param(0.5, 0.5, 3, 3.0, id="long pause"),
        pytest.param(0.1, 0.1, 3, 5.0, id="three short"),
        pytest.param(0.1, 0.1, 5, 5.0, id="five short"),
        pytest.param(0.1, 0.1, 4, 1.0, id="short pause"),
        pytest.param(1.0, 1.0, 20, 0.0, id="slow"),
        pytest.param(0.5, 1.0, 3, 1.5, id="wide"),
    ],
)
def test_other_beeps_are_no_alarm(on: float, off: float, pulses: int, pause: float) -> None:
    front_end = load_bundle(find_model("tiny")).manifest.front_end
    times, place = list[tuple[float, float]](), 1.0
    while place < 25.0:
        times += [(place + pulse * (on + off), place + pulse * (on + off) + on) for pulse in range(pulses)]
        place = times[-1][1] + max(off, pause)
    assert heard(beeps(*times, seconds=28.0), front_end) == []


def test_what_came_before_a_gap_is_forgotten() -> None:
    front_end = load_bundle(find_model("tiny")).manifest.front_end
    group = [(1.0 + pulse, 1.5 + pulse) for pulse in range(3)]
    stream, detector = MelStream(front_end, 1001), AlarmDetector(front_end)
    half = beeps(*group, seconds=5.0)
    for restart, expected in ((True, set()), (False, {T3})):
        detector.restart()
        recognised = list[AlarmHeard]()
        for place, sound in enumerate((half, half[RATE:], half[RATE:])):  # 4 s from group to group
            recognised += detector.push(stream.newest(stream.push(sound)), 5.0 + 4.0 * place)
            if restart:
                detector.restart()
        assert {each.pattern for each in recognised} == expected


def test_silence_and_a_tone_are_no_alarm() -> None:
    front_end = load_bundle(find_model("tiny")).manifest.front_end
    assert heard(np.zeros(20 * RATE, np.float32), front_end) == []
    assert heard(beeps((0.0, 20.0), seconds=20.0), front_end) == []
    assert T4.period == pytest.approx(5.7)
