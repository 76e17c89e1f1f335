"""Synthesised alarms: sounders, timings within the standards' tolerance, rooms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecap.sounds.alarm_patterns import TOLERANCE, AlarmPattern
from edgecap.types import Waveform

Samples = NDArray[np.float64]
NYQUIST_SHARE = 0.47
"""Highest partial of a sounder, as a part of the sample rate."""


def piezo(phase: Samples, most_partials: int) -> Samples:
    """A resonating disc: nearly a sine, with a weak octave."""
    return np.asarray(np.sin(phase) + (0.2 * np.sin(2 * phase) if most_partials > 1 else 0.0))


def square_wave(phase: Samples, most_partials: int) -> Samples:
    """The low-frequency sounder of NFPA 72: a square wave of 520 Hz, up to the highest partial."""
    return np.asarray(sum(np.sin(order * phase) / order for order in range(1, most_partials + 1, 2)))


def horn(phase: Samples, most_partials: int) -> Samples:
    """An electromechanical horn: a harsh tone of a fifth of the frequency, strongest at its fifth partial."""
    orders = range(1, min(14, 5 * most_partials + 1))
    return np.asarray(sum(np.sin(order * phase / 5 + order * order) / np.sqrt(1 + abs(order - 5)) for order in orders))


SOUNDERS: dict[str, tuple[Callable[[Samples, int], Samples], float, float]] = {
    "piezo": (piezo, 2700.0, 3600.0),
    "520 Hz": (square_wave, 0.9 * 520.0, 1.1 * 520.0),
    "horn": (horn, 1500.0, 3000.0),
}
"""Sounder, and the lowest and highest frequency of its makes, hertz."""


@dataclass(frozen=True)
class Alarm:
    """A synthesised alarm."""

    samples: Waveform
    sounding: NDArray[np.bool_]
    """Where a pulse lies, without the room."""


def alarm(pattern: AlarmPattern, sounder: str, seconds: float, rate: int, random: np.random.Generator) -> Alarm:
    """One make of alarm in one room.

    On, off and pause are each off by up to 9 % for the make, each pulse by 1 % more; the frequency by 0.3 % from pulse
    to pulse and by 1 % over the time; the level 0.5 dB. The room has a reverberation time of 0.2 to 0.8 s, direct sound
    from 3 dB below to 9 dB above the reverberation.
    """
    make, lowest, highest = SOUNDERS[sounder]
    most = 0.9 * TOLERANCE
    on, off, pause = (time * random.uniform(1 - most, 1 + most) for time in (pattern.on, pattern.off, pattern.pause))
    hertz, drift = random.uniform(lowest, highest), random.uniform(-0.01, 0.01)
    samples, place = np.zeros(round(seconds * rate)), random.uniform(0.0, pattern.period)
    sounding = np.zeros(samples.size, bool)
    while place < seconds:
        for pulse in range(pattern.pulses):
            first = round(place * rate)
            last = min(samples.size, first + round(on * random.uniform(0.99, 1.01) * rate))
            own = hertz * random.uniform(0.997, 1.003) * (1.0 + drift * place / seconds)
            if last - first > rate // 50:
                sounding[first:last] = True
                samples[first:last] = _pulse(make, own, last - first, rate, random)
            place += on + (off if pulse < pattern.pulses - 1 else pause)
    return Alarm(_in_room(samples, rate, random).astype(np.float32), sounding)


def _pulse(
    make: Callable[[Samples, int], Samples], hertz: float, count: int, rate: int, random: np.random.Generator
) -> Samples:
    rise = round(random.uniform(0.002, 0.010) * rate)
    envelope = np.minimum(1.0, np.minimum(np.arange(1, count + 1), np.arange(count, 0, -1)) / rise)
    phase = 2.0 * np.pi * hertz * np.arange(count) / rate
    return np.asarray(
        make(phase, int(NYQUIST_SHARE * rate / hertz)) * envelope * 10.0 ** (random.uniform(-0.5, 0.5) / 20.0)
    )


def _in_room(samples: Samples, rate: int, random: np.random.Generator) -> Samples:
    length = round(random.uniform(0.2, 0.8) * rate)
    tail = random.standard_normal(length) * 10.0 ** (-3.0 * np.arange(length) / length)
    tail *= 10.0 ** (random.uniform(-9.0, 3.0) / 20.0) / np.sqrt(np.square(tail).sum())
    tail[0] += 1.0
    size = 1 << int(np.ceil(np.log2(samples.size + length)))
    product = np.fft.rfft(samples, size) * np.fft.rfft(tail, size)
    return np.asarray(np.fft.irfft(product, size)[: samples.size])


def mixed(heard: Alarm, bed: Waveform, snr: float, random: np.random.Generator) -> Waveform:
    """An alarm over a bed of the same length: `snr` decibels between the pulses' RMS and the bed's; peak -30 to -3 dBFS
    with a microphone's noise at -80 dBFS."""
    pulses = np.sqrt(np.square(heard.samples[heard.sounding]).mean())
    gain = 10.0 ** (snr / 20.0) * np.sqrt(np.square(bed).mean() + 1e-12) / pulses
    both = heard.samples * gain + bed
    both *= 10.0 ** (random.uniform(-30.0, -3.0) / 20.0) / np.abs(both).max()
    return np.asarray(both + 1e-4 * random.standard_normal(both.size), np.float32)
