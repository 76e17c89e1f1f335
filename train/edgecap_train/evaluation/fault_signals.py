"""Noise and the faults of microphones, generated: signals in which no source can be heard, whatever a model says.

Each kind is a function of a rate and random numbers, which choose colour, pitch, depth and level, so that no two
signals of a kind are alike. They are ten seconds long, as a window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from edgecap.types import Waveform

SECONDS = 10.0
"""Length of a signal."""
Floats = NDArray[np.float64]
Shape = Callable[[int, np.random.Generator], Floats]
"""A rate and random numbers to samples (n,) of any level."""


@dataclass(frozen=True)
class FaultSignal:
    """One signal."""

    kind: str
    """A name in `KINDS`."""
    samples: Waveform
    """Mono, (n,)."""


def _coloured(rate: int, random: np.random.Generator, slope: float, low: float = 20.0, high: float = 8_000.0) -> Floats:
    """Gaussian noise whose power falls by `slope` x 3 dB an octave between two frequencies, with unit RMS."""
    count = round(SECONDS * rate)
    frequencies = np.fft.rfftfreq(count, 1.0 / rate)
    inside = (frequencies >= low) & (frequencies <= min(high, rate / 2))
    weight = np.where(inside, np.maximum(frequencies, 1.0) ** (-slope / 2.0), 0.0)
    spectrum = weight * (random.standard_normal(weight.size) + 1j * random.standard_normal(weight.size))
    return _unit(np.fft.irfft(spectrum, count))


def _unit(samples: Floats) -> Floats:
    return np.asarray(samples / max(float(np.sqrt(np.mean(np.square(samples)))), 1e-12))


def _times(rate: int) -> Floats:
    return np.arange(round(SECONDS * rate)) / rate


def _any_colour(rate: int, random: np.random.Generator) -> Floats:
    return _coloured(rate, random, random.uniform(-0.5, 2.5))


def _band(rate: int, random: np.random.Generator) -> Floats:
    low = np.exp(random.uniform(np.log(40.0), np.log(3_000.0)))
    return _coloured(rate, random, random.uniform(0.0, 1.0), low, low * random.uniform(1.3, 6.0))


def _hum(rate: int, random: np.random.Generator) -> Floats:
    """Mains: 50 or 60 Hz with harmonics, over a little noise."""
    base, times = random.choice((50.0, 60.0)) * random.uniform(0.998, 1.002), _times(rate)
    fall = random.uniform(0.2, 0.95)
    waves = [
        fall**order * random.uniform(0.2, 1.0) * np.sin(2 * np.pi * order * base * times + random.uniform(0, 6.28))
        for order in range(1, random.integers(2, 30))
    ]
    return _unit(np.sum(waves, 0)) + 10 ** random.uniform(-3.0, -0.7) * _any_colour(rate, random)


def _tone(rate: int, random: np.random.Generator) -> Floats:
    """One steady tone, or two; with a little noise."""
    times = _times(rate)
    pitches = np.exp(random.uniform(np.log(60.0), np.log(6_000.0), random.integers(1, 3)))
    waves = np.sum([np.sin(2 * np.pi * pitch * times + random.uniform(0, 6.28)) for pitch in pitches], 0)
    return _unit(waves) + 10 ** random.uniform(-4.0, -1.0) * _any_colour(rate, random)


def _sweep(rate: int, random: np.random.Generator) -> Floats:
    first, last = np.exp(random.uniform(np.log(60.0), np.log(6_000.0), 2))
    times = _times(rate)
    return np.asarray(np.sin(2 * np.pi * np.cumsum(first * (last / first) ** (times / SECONDS)) / rate))


def _clicks(rate: int, random: np.random.Generator) -> Floats:
    """Single wrong samples, or short bursts, now and then or at a steady rate, over faint noise."""
    samples, every = 10 ** random.uniform(-4.0, -2.0) * _any_colour(rate, random), random.uniform(0.02, 1.0)
    steady, place, width = random.random() < 0.5, 0.0, int(random.integers(1, 40))
    while place < SECONDS:
        start = int(place * rate)
        length = min(width, samples.size - start)
        samples[start : start + length] += random.choice((-1.0, 1.0)) * np.exp(-np.arange(length) / max(1.0, width / 4))
        place += every if steady else random.exponential(every)
    return samples


def _muted(rate: int, random: np.random.Generator) -> Floats:
    """What a muted input still gives: the converter's noise, a constant, the last bit that toggles."""
    noise = 10 ** random.uniform(-1.0, 1.0) * _any_colour(rate, random)
    return np.round(noise) + random.integers(-3, 4) if random.random() < 0.5 else noise


def _wind(rate: int, random: np.random.Generator) -> Floats:
    """Turbulence at the capsule: low rumble in gusts, at times beyond full scale."""
    rumble = _coloured(rate, random, random.uniform(2.0, 4.0), 5.0, random.uniform(150.0, 1_000.0))
    return _unit(rumble * _gusts(rate, random, random.uniform(0.2, 2.0), random.uniform(0.5, 2.0)))


def _gusts(rate: int, random: np.random.Generator, hertz: float, depth: float) -> Floats:
    """A slow random envelope, positive."""
    knots = random.standard_normal(max(4, round(SECONDS * hertz * 2)))
    slow = np.interp(_times(rate), np.linspace(0.0, SECONDS, knots.size), knots)
    return np.asarray(np.exp(depth * slow))


def _modulated(rate: int, random: np.random.Generator) -> Floats:
    """Noise with a sine, a square or a random envelope."""
    hertz, depth, carrier = random.uniform(0.3, 12.0), random.uniform(0.4, 1.0), _any_colour(rate, random)
    if random.random() < 0.3:
        return carrier * _gusts(rate, random, hertz, depth)
    wave = np.sin(2 * np.pi * hertz * _times(rate))
    return carrier * (1.0 + depth * (np.sign(wave) if random.random() < 0.3 else wave))


def _constant(rate: int, random: np.random.Generator) -> Floats:
    """An offset with noise on it, which may drift."""
    offset = float(random.uniform(1.0, 30.0) * random.choice((-1.0, 1.0)))
    return offset * (1.0 + random.uniform(0.0, 0.5) * _times(rate) / SECONDS) + _any_colour(rate, random)


def _clipped(rate: int, random: np.random.Generator) -> Floats:
    """Noise, hum or a tone far beyond full scale."""
    source = (_any_colour, _hum, _tone)[random.integers(3)](rate, random)
    return np.asarray(np.clip((1.0 if random.random() < 0.3 else 8.0) * source, -1.0, 1.0))


def _dropouts(rate: int, random: np.random.Generator) -> Floats:
    """Noise or hum that is cut out again and again, or whose blocks come twice."""
    samples = (_any_colour, _hum)[random.integers(2)](rate, random)
    block = int(rate * random.uniform(0.005, 0.3))
    repeats = random.random() < 0.3
    for start in range(0, samples.size - 2 * block, block):
        if random.random() < 0.35:
            samples[start + block : start + 2 * block] = samples[start : start + block] if repeats else 0.0
    return samples


def _buzz(rate: int, random: np.random.Generator) -> Floats:
    """Interference: narrow pulses at a steady rate, as of a dimmer, a display or a telephone's radio."""
    hertz, width = random.choice((50.0, 60.0, 100.0, 120.0, 217.0)), random.uniform(0.02, 0.3)
    phase = (_times(rate) * hertz) % 1.0
    buzz = np.where(phase < width, 1.0, 0.0) - width
    if random.random() < 0.3:
        buzz = buzz * (np.sin(2 * np.pi * random.uniform(0.2, 4.0) * _times(rate)) > 0.0)
    return _unit(buzz) + 10 ** random.uniform(-3.0, -0.5) * _any_colour(rate, random)


KINDS: dict[str, Shape] = {
    "white": lambda rate, random: _coloured(rate, random, 0.0),
    "pink": lambda rate, random: _coloured(rate, random, 1.0),
    "brown": lambda rate, random: _coloured(rate, random, 2.0),
    "coloured": _any_colour,
    "band": _band,
    "hum": _hum,
    "tone": _tone,
    "sweep": _sweep,
    "clicks": _clicks,
    "muted": _muted,
    "wind": _wind,
    "modulated": _modulated,
    "constant": _constant,
    "clipped": _clipped,
    "dropouts": _dropouts,
    "buzz": _buzz,
}
"""All kinds; a further one is one function and one line."""
FAINT = {"muted": (-82.0, -60.0)}
LEVELS = (-62.0, -8.0)
"""Range of a signal's RMS without its mean, dB relative to full scale, where `FAINT` has no other."""


def fault_signals(rate: int, each: int, *, seed: int = 0) -> list[FaultSignal]:
    """So many signals of each kind at a rate in hertz, the same for the same `seed`."""
    signals = []
    for kind, shape in KINDS.items():
        random = np.random.default_rng([seed, crc32(kind.encode())])
        for _ in range(each):
            samples = shape(rate, random)
            spread = max(float(samples.std()), 1e-12)
            scale = 10.0 ** (random.uniform(*FAINT.get(kind, LEVELS)) / 20.0) / spread
            if kind == "clipped":
                scale = random.uniform(0.3, 1.0)
            signals.append(FaultSignal(kind, np.clip(samples * scale, -1.0, 1.0).astype(np.float32)))
    return signals
