"""Front end of the teacher HTSAT: ten seconds at 32 kHz to the log-mel spectrogram its weights expect.

In NumPy, so that the teacher's exported graphs can be fed without PyTorch;
`edgecap_train.teachers.htsat_bart` does the same arithmetic in PyTorch and a test holds the two together. The
BatchNorm over the bands, the resize and the folding belong to the network. Constants: WavCaps' HTSAT (Chen et al.
2022, arXiv 2202.00874; Mei et al. 2023, arXiv 2303.17395).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.frontend import hann_window
from edgecap.types import Waveform

SAMPLE_RATE = 32_000
"""Samples per second."""
CLIP_SAMPLES = 320_000
"""Ten seconds: the network's input."""
N_FFT = 1024
"""Length of the transform and of the periodic Hann window, in samples."""
HOP = 320
"""Samples from one frame to the next."""
FRAMES = CLIP_SAMPLES // HOP + 1
N_MELS = 64
F_MIN, F_MAX = 50.0, 14_000.0
"""Edges of the lowest and the highest band, in hertz."""
AMIN = 1e-10
"""Smallest power that a decibel is taken of; there is no floor below the maximum."""
BLOCK_FRAMES = 64
"""Frames transformed at once, few enough to stay in a processor's cache."""


def fit_clip(samples: Waveform) -> Waveform:
    """`samples` (n,) at 32 kHz → (320,000,): a longer clip cut, a shorter one filled with zeros, as WavCaps does."""
    if samples.ndim != 1 or not samples.size:
        raise ValueError(f"a clip needs one axis and at least one sample, not shape {samples.shape}")
    return np.pad(samples[:CLIP_SAMPLES].astype(np.float32, copy=False), (0, max(0, CLIP_SAMPLES - samples.size)))


def log_mel(samples: Waveform) -> Waveform:
    """Log-mel spectrogram of one clip, (n,) float32 in [-1, 1] at 32 kHz → (1001, 64) in decibels."""
    padded = np.pad(fit_clip(samples), N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    window = hann_window(N_FFT, N_FFT).astype(np.float32)
    bank = slaney_mel_bank().T
    mel = np.empty((len(frames), N_MELS), np.float32)
    for start in range(0, len(frames), BLOCK_FRAMES):
        spectrum = np.fft.rfft(frames[start : start + BLOCK_FRAMES] * window, axis=1)
        mel[start : start + BLOCK_FRAMES] = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ bank
    return np.asarray(10.0 * np.log10(np.maximum(mel, np.float32(AMIN))), np.float32)


def hertz_to_slaney(hertz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Slaney's mel scale (Auditory Toolbox, 1998): 3 mel to 200 Hz up to 1 kHz, then 27 mel to a factor of 6.4."""
    hertz = np.asarray(hertz, np.float64)
    above = 15.0 + 27.0 * np.log(np.maximum(hertz, 1_000.0) / 1_000.0) / np.log(6.4)
    return np.where(hertz < 1_000.0, hertz * 3.0 / 200.0, above)


def slaney_to_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of `hertz_to_slaney`."""
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1_000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0))


def slaney_mel_bank() -> Waveform:
    """Triangles straight over hertz, each of area 1 (height 2 / width in hertz): (64, 513)."""
    lowest, highest = float(hertz_to_slaney(F_MIN)), float(hertz_to_slaney(F_MAX))
    edges = slaney_to_hertz(np.linspace(lowest, highest, N_MELS + 2))
    bins = np.arange(N_FFT // 2 + 1) * (SAMPLE_RATE / N_FFT)
    width = np.diff(edges)
    rising = (bins[None, :] - edges[:-2, None]) / width[:-1, None]
    falling = (edges[2:, None] - bins[None, :]) / width[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None], np.float32)
