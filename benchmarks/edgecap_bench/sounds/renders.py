"""A sound recorded again, simulated: another room, level, place in time and background."""

from __future__ import annotations

import numpy as np

from edgecap.types import Waveform

WINDOW_SECONDS = 10.0
ABOVE = 12.0


def recorded_again(sound: Waveform, background: Waveform, rate: int, random: np.random.Generator) -> Waveform:
    """`sound` (n,) somewhere in ten seconds of `background`, as another microphone in another room would have it.

    Reverberation of 0.2 to 0.6 s, a level of 0 to -25 dB, and 5 to 20 dB above the background over the sound's length.
    """
    length = int(WINDOW_SECONDS * rate)
    room = _room(rate, random)
    size = length + room.size
    heard = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(room, size), size)
    wet = heard[: min(length, sound.size + room.size - 1)].astype(np.float32)
    place = int(random.integers(0, length - wet.size + 1))
    noise = np.resize(background, length).astype(np.float32)
    ratio = 10.0 ** (random.uniform(5.0, 20.0) / 20.0)
    under = noise[place : place + wet.size]
    noise *= _rms(wet) / max(_rms(under), _rms(noise) / 10.0, 1e-9) / ratio
    noise[place : place + wet.size] += wet
    return np.asarray(noise * 10.0 ** (random.uniform(-25.0, 0.0) / 20.0) / max(1.0, float(np.abs(noise).max())))


def among(sound: Waveform, background: Waveform, rate: int, random: np.random.Generator) -> Waveform:
    """`sound` (n,) somewhere in ten seconds of `background`, `ABOVE` decibels above what lies below it."""
    length = int(WINDOW_SECONDS * rate)
    sound, noise = sound[:length], np.resize(background, length).astype(np.float32)
    place = int(random.integers(0, length - sound.size + 1))
    under = noise[place : place + sound.size]
    noise *= _rms(sound) / max(_rms(under), _rms(noise) / 10.0, 1e-9) / 10.0 ** (ABOVE / 20.0)
    noise[place : place + sound.size] += sound
    return np.asarray(noise / max(1.0, float(np.abs(noise).max())), np.float32)


def _room(rate: int, random: np.random.Generator) -> Waveform:
    """An impulse response: the direct sound, and noise that decays by 60 dB in 0.2 to 0.6 s, 0 to 10 dB weaker."""
    seconds = random.uniform(0.2, 0.6)
    tail = random.standard_normal(int(seconds * rate)) * 10.0 ** (-3.0 * np.linspace(0.0, 1.0, int(seconds * rate)))
    tail *= 10.0 ** (-random.uniform(0.0, 10.0) / 20.0) / np.linalg.norm(tail)
    tail[0] += 1.0
    return np.asarray(tail, np.float32)


def _rms(samples: Waveform) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
