"""Recordings as other equipment would have heard them: the table of degradations that a caption should survive.

Each is deterministic: its random parts are drawn from a seed that belongs to the recording. What a room, a codec or a
distance does to sound is imitated here from its textbook description; no recording of one is needed.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soundfile
from scipy.signal import butter, fftconvolve, sosfilt

from edgecap.audio.resample import resampled
from edgecap.types import Waveform

TELEPHONE_RATE, TELEPHONE_BAND = 8_000, (300.0, 3_400.0)
"""Narrow-band telephony (ITU-T G.711, G.712), in hertz."""
MU = 255.0
"""Of the mu-law companding of G.711."""
MP3_LEVEL = 0.85
"""libsndfile's compression level at which a constant-rate mp3 of 16 kHz has 32 kbit/s."""
FULL_SCALE = 32_767.0


@dataclass(frozen=True)
class Condition:
    """One degradation."""

    name: str
    """In options, JSON and tables."""
    degrade: Callable[[Waveform, int, np.random.Generator], Waveform]
    """Samples (n,), their rate and random numbers to samples."""
    plain: Callable[[Waveform, int], Waveform] = lambda samples, _rate: samples
    """What the degraded sound is compared with; all of the recording unless said otherwise."""


def _gain(decibels: float) -> Callable[[Waveform, int, np.random.Generator], Waveform]:
    """Quieter, and stored in 16 bits as a recorder would."""

    def degrade(samples: Waveform, _rate: int, _random: np.random.Generator) -> Waveform:
        quieter = samples * 10.0 ** (decibels / 20.0)
        return np.asarray(np.round(quieter * FULL_SCALE) / FULL_SCALE, np.float32)

    return degrade


def _telephone(samples: Waveform, rate: int, _random: np.random.Generator) -> Waveform:
    narrow = np.concatenate([*resampled([samples], rate, TELEPHONE_RATE)])
    low, high = TELEPHONE_BAND
    narrow = sosfilt(butter(4, (low, high), "bandpass", fs=TELEPHONE_RATE, output="sos"), narrow)
    companded = np.sign(narrow) * np.log1p(MU * np.minimum(np.abs(narrow), 1.0)) / np.log1p(MU)
    companded = np.round(companded * 127.0) / 127.0
    expanded = np.sign(companded) * np.expm1(np.abs(companded) * np.log1p(MU)) / MU
    wide = np.concatenate([*resampled([expanded.astype(np.float32)], TELEPHONE_RATE, rate)])
    return np.resize(np.pad(wide, (0, max(0, samples.size - wide.size))), samples.size).astype(np.float32)


def _mp3(samples: Waveform, rate: int, _random: np.random.Generator) -> Waveform:
    """Encoded and decoded by libsndfile; the encoder's delay stays, as in a file."""
    file = io.BytesIO()
    soundfile.write(
        file,
        np.clip(samples, -1.0, 1.0),
        rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=MP3_LEVEL,
    )
    file.seek(0)
    return np.asarray(soundfile.read(file, dtype="float32")[0][: samples.size], np.float32)


def _pink_noise(signal_to_noise: float) -> Callable[[Waveform, int, np.random.Generator], Waveform]:
    """Noise whose power falls by 3 dB an octave, so many dB below the recording's mean power."""

    def degrade(samples: Waveform, _rate: int, random: np.random.Generator) -> Waveform:
        spectrum = np.fft.rfft(random.standard_normal(samples.size))
        spectrum[1:] /= np.sqrt(np.arange(1, spectrum.size))
        spectrum[0] = 0.0
        noise = np.fft.irfft(spectrum, samples.size)
        power, noise_power = float(np.mean(np.square(samples))), float(np.mean(np.square(noise)))
        scale = np.sqrt(power / max(noise_power, 1e-20) / 10.0 ** (signal_to_noise / 10.0))
        return np.asarray(samples + scale * noise, np.float32)

    return degrade


def _reverberation(seconds: float) -> Callable[[Waveform, int, np.random.Generator], Waveform]:
    """A diffuse room: noise that decays by 60 dB in `seconds`, behind direct sound of the same energy."""

    def degrade(samples: Waveform, rate: int, random: np.random.Generator) -> Waveform:
        times = np.arange(round(seconds * rate)) / rate
        tail = random.standard_normal(times.size) * 10.0 ** (-3.0 * times / seconds)
        response = tail / np.linalg.norm(tail)
        response[0] += 1.0
        wet = fftconvolve(samples, response)[: samples.size]
        loudness = float(np.linalg.norm(samples)) / max(float(np.linalg.norm(wet)), 1e-12)
        return np.asarray(wet * loudness, np.float32)

    return degrade


def _first(seconds: float) -> Callable[[Waveform, int, np.random.Generator], Waveform]:
    return lambda samples, rate, _random: samples[: round(seconds * rate)]


def _shifted(seconds: float) -> Condition:
    """A window that begins later, against one of the same length that does not: what the next hop of a stream hears."""

    def part(samples: Waveform, rate: int) -> int:
        return min(round(seconds * rate), samples.size // 2)

    return Condition(
        f"shift-{seconds:g}s",
        lambda samples, rate, _random: samples[part(samples, rate) :],
        lambda samples, rate: samples[: samples.size - part(samples, rate)],
    )


CONDITIONS = (
    Condition("telephone", _telephone),
    Condition("mp3-32k", _mp3),
    Condition("pink-10dB", _pink_noise(10.0)),
    Condition("pink-0dB", _pink_noise(0.0)),
    Condition("gain-20dB", _gain(-20.0)),
    Condition("gain-40dB", _gain(-40.0)),
    Condition("reverberation-0.5s", _reverberation(0.5)),
    Condition("first-2s", _first(2.0)),
    _shifted(0.05),
    _shifted(0.5),
    _shifted(1.0),
    _shifted(2.0),
)
"""All of them; a condition is one line here."""
