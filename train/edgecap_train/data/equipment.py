"""What telephones, cameras and rooms do to sound between a scene and the student's ears.

The teacher tags and captions the scene as it is; the student hears it through random equipment, so that it learns to
hear the same in a damaged recording. Every number is drawn from a range: the fixed conditions that
`edgecap_train.evaluation.conditions` measures with are not trained on as such.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, fftconvolve, sosfilt

from edgecap.types import Waveform


@dataclass(frozen=True, kw_only=True)
class EquipmentConfig:
    """Chances in [0, 1] of each device, drawn one by one, in the order in which sound meets them."""

    untouched: float = 0.5
    """Scenes that are heard as they are."""
    room: float = 0.3
    noise: float = 0.35
    gain_control: float = 0.25
    clipping: float = 0.1
    band: float = 0.25
    telephone: float = 0.15
    mp3: float = 0.25
    signal_to_noise: tuple[float, float] = (3.0, 25.0)
    """Decibels between the scene and the noise of its recorder."""
    decay: tuple[float, float] = (0.1, 0.9)
    """Seconds in which a room's sound falls by 60 dB."""


class Equipment:
    """Draws devices from a generator; the same generator draws the same ones."""

    def __init__(self, config: EquipmentConfig, rng: np.random.Generator) -> None:
        self.config, self.rng = config, rng

    def record(self, samples: Waveform, rate: int) -> Waveform:
        """`samples` (n,) at `rate` hertz as equipment would have recorded them, (n,) in [-1, 1]."""
        rng, config = self.rng, self.config
        if rng.random() < config.untouched:
            return samples
        devices = (
            (config.room, self._room),
            (config.noise, self._noise),
            (config.gain_control, self._gain_control),
            (config.clipping, self._clipping),
            (config.band, self._band),
            (config.telephone, self._telephone),
            (config.mp3, self._mp3),
        )
        for chance, device in devices:
            if rng.random() < chance:
                samples = device(samples, rate)
        return np.asarray(np.clip(samples, -1.0, 1.0), np.float32)

    def _room(self, samples: Waveform, rate: int) -> Waveform:
        """Direct sound, some first reflections, and noise that decays; more or less of it."""
        rng = self.rng
        decay = rng.uniform(*self.config.decay)
        time = np.arange(int(decay * rate)) / rate
        response = rng.standard_normal(time.size) * 10.0 ** (-3.0 * time / decay)
        first = rng.integers(1, max(2, int(0.03 * rate)), 6).clip(max=time.size - 1)
        response[first] += rng.uniform(-3.0, 3.0, first.size)
        response *= rng.uniform(0.3, 1.2) / max(float(np.linalg.norm(response)), 1e-9)
        response[0] += 1.0
        return _as_loud(fftconvolve(samples, response)[: samples.size], samples)

    def _noise(self, samples: Waveform, rate: int) -> Waveform:
        """White to brown noise, with the hum of the mains now and then."""
        rng = self.rng
        spectrum = np.fft.rfft(rng.standard_normal(samples.size))
        frequency = np.maximum(np.arange(spectrum.size), 20.0)
        noise = np.fft.irfft(spectrum / frequency ** rng.uniform(0.0, 1.0), samples.size)
        if rng.random() < 0.15:
            mains = rng.choice([50.0, 60.0]) * np.arange(1, 6)[:, None]
            hum = (np.sin(2 * np.pi * mains * np.arange(samples.size) / rate) * rng.random((5, 1))).sum(0)
            noise = noise / max(float(np.std(noise)), 1e-9) + hum * rng.uniform(0.2, 1.0)
        below = 10.0 ** (-rng.uniform(*self.config.signal_to_noise) / 20.0)
        scale = below * float(np.sqrt(np.mean(np.square(samples)))) / max(float(np.std(noise)), 1e-9)
        return np.asarray(samples + scale * noise, np.float32)

    def _gain_control(self, samples: Waveform, rate: int) -> Waveform:
        """A recorder's automatic level: loud parts are turned down and quiet ones up, by at most 20 dB."""
        span = max(1, int(self.rng.uniform(0.1, 1.0) * rate))
        envelope = np.sqrt(uniform_filter1d(np.square(samples, dtype=np.float64), span).clip(1e-12))
        gain = (float(envelope.max()) / envelope).clip(max=10.0) ** self.rng.uniform(0.3, 0.9)
        return _as_loud(samples * gain, samples)

    def _clipping(self, samples: Waveform, _rate: int) -> Waveform:
        """An overdriven input: the loudest parts are cut."""
        limit = float(np.abs(samples).max()) * self.rng.uniform(0.1, 0.6)
        return np.asarray(np.clip(samples, -limit, limit), np.float32)

    def _band(self, samples: Waveform, rate: int) -> Waveform:
        """A small microphone: no lows, few highs."""
        low, high = self.rng.uniform(30.0, 300.0), self.rng.uniform(2_500.0, 0.45 * rate)
        return np.asarray(sosfilt(butter(2, (low, high), "bandpass", fs=rate, output="sos"), samples), np.float32)

    def _telephone(self, samples: Waveform, rate: int) -> Waveform:
        """Narrow band in few bits."""
        narrow_rate = 8_000
        narrow = soxr.resample(samples, rate, narrow_rate, quality="HQ")
        low, high = self.rng.uniform(150.0, 350.0), self.rng.uniform(2_900.0, 3_700.0)
        narrow = sosfilt(butter(3, (low, high), "bandpass", fs=narrow_rate, output="sos"), narrow)
        steps = 2.0 ** self.rng.integers(5, 8)
        companded = np.sign(narrow) * np.log1p(255.0 * np.minimum(np.abs(narrow), 1.0)) / np.log(256.0)
        companded = np.round(companded * steps) / steps
        narrow = np.sign(companded) * np.expm1(np.abs(companded) * np.log(256.0)) / 255.0
        wide = soxr.resample(narrow.astype(np.float32), narrow_rate, rate, quality="HQ")
        return np.asarray(np.resize(np.pad(wide, (0, max(0, samples.size - wide.size))), samples.size), np.float32)

    def _mp3(self, samples: Waveform, rate: int) -> Waveform:
        """A lossy codec at a low rate; its delay is a shift of some hundredths of a second."""
        file = io.BytesIO()
        level = float(self.rng.uniform(0.5, 0.95))
        options = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT", "compression_level": level}
        soundfile.write(file, np.clip(samples, -1.0, 1.0), rate, **options)
        file.seek(0)
        decoded = np.asarray(soundfile.read(file, dtype="float32")[0][: samples.size], np.float32)
        return np.pad(decoded, (0, samples.size - decoded.size))


def _as_loud(samples: Waveform, original: Waveform) -> Waveform:
    """`samples` at the mean power of `original`."""
    scale = float(np.linalg.norm(original)) / max(float(np.linalg.norm(samples)), 1e-12)
    return np.asarray(samples * scale, np.float32)
