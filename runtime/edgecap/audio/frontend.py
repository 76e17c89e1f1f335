"""Log-mel front end in NumPy: samples in, log-mel spectrogram out.

Knows nothing about models or files. Its constants come from the bundle (`FrontEnd`), so that a device computes the
spectrogram that the model was trained on. `edgecap_train.models.frontend` is the same arithmetic in PyTorch; a test
compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from edgecap.audio.mel_products import MelProducts
from edgecap.types import LogMel, Waveform
from edgecap.util.limits.bounded import Bands, Rate, Transform

BLOCK_FRAMES = 64
"""Frames transformed at once: few enough to stay in a processor's cache (about 400 kB)."""
LEAST_MEAN_POWER = 1e-10
"""Mean mel power below which a clip is not brought to `clip_level` any further: nothing is heard in it."""


@dataclass(frozen=True, kw_only=True)
class FrontEnd:
    """Constants of a log-mel front end.

    The defaults are the published student's (Xu et al. 2024): 16 kHz, 32 ms window, 10 ms hop,
    power spectrum, 64 HTK mel bands over 0 to 8 kHz, decibels with a floor 120 dB below the clip's
    own maximum.
    """

    sample_rate: Rate = 16_000
    """Samples per second."""
    n_fft: Transform = 512
    """Length of the Fourier transform, in samples."""
    win_length: Transform = 512
    """Length of the periodic Hann window, in samples, centred in `n_fft`."""
    hop_length: Transform = 160
    """Samples from one frame to the next."""
    power: Literal[1, 2] = 2
    """Exponent of the magnitude: 1 for a magnitude spectrum, 2 for a power spectrum."""
    n_mels: Bands = 64
    """Number of mel bands (HTK scale, no area normalisation)."""
    f_min: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    """Lower edge of the lowest band, in hertz."""
    f_max: Annotated[float, Meta(gt=0, le=1e6)] = 8_000.0
    """Upper edge of the highest band, in hertz."""
    mel_slopes: Literal["hertz", "mel"] = "hertz"
    """Whether the triangles' sides are straight over hertz (torchaudio) or over mel (TensorFlow)."""
    compression: Literal["decibel", "log"] = "decibel"
    """"decibel": 10 log10(max(x, amin)), floored at the clip's maximum less `top_db`;
    "log": ln(x + log_offset)."""
    amin: Annotated[float, Meta(gt=0, le=1e6)] = 1e-10
    """Smallest power that a decibel is taken of."""
    top_db: Annotated[float, Meta(gt=0, le=1e6)] = 120.0
    """Dynamic range kept below the clip's maximum, in decibels ("decibel" only)."""
    log_offset: Annotated[float, Meta(gt=0, le=1e6)] = 1e-3
    """Added before the logarithm ("log" only)."""
    clip_level: Annotated[float, Meta(ge=-100, le=100)] | None = None
    """Decibels to which the mean mel power of each clip is brought, so that a caption does not depend on the gain of a
    microphone; None leaves a clip as loud as it is."""

    def __post_init__(self) -> None:
        """Raises ValueError for constants that contradict each other."""
        if self.win_length > self.n_fft:
            raise ValueError(f"win_length {self.win_length} is longer than n_fft {self.n_fft}")
        if not self.f_min < min(self.f_max, self.sample_rate / 2):
            raise ValueError(f"f_min {self.f_min:g} Hz is not below f_max and half the sample rate")

    def frames(self, n_samples: int) -> int:
        """Number of frames of a clip of `n_samples` (the STFT is centred)."""
        return n_samples // self.hop_length + 1

    @property
    def silence(self) -> float:
        """The log-mel value of digital silence; also what pads a short clip."""
        if self.compression == "decibel":
            return float(10.0 * np.log10(self.amin))
        return float(np.log(self.log_offset))


def hann_window(length: int, n_fft: int) -> NDArray[np.float64]:
    """Periodic Hann window of `length` samples, centred in `n_fft` zeros: shape (n_fft,)."""
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / length)
    left = (n_fft - length) // 2
    return np.pad(window, (left, n_fft - length - left))


def hertz_to_mel(hertz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """HTK's mel scale, 2595 log10(1 + f / 700)."""
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hertz, np.float64) / 700.0))


def mel_bank(front_end: FrontEnd) -> NDArray[np.float32]:
    """Triangular mel filters, shape (n_mels, n_fft // 2 + 1), peak 1, no area normalisation."""
    hertz = np.linspace(0.0, front_end.sample_rate / 2, front_end.n_fft // 2 + 1)
    bins: NDArray[np.floating]
    edges: NDArray[np.floating]
    lowest, highest = hertz_to_mel(front_end.f_min), hertz_to_mel(front_end.f_max)
    if front_end.mel_slopes == "hertz":
        edges = _published_edges(float(lowest), float(highest), front_end.n_mels + 2)
        bins = hertz.astype(np.float32)
    else:
        edges = np.linspace(lowest, highest, front_end.n_mels + 2)
        bins = hertz_to_mel(hertz)
    width = np.diff(edges)
    rising = (bins[None, :] - edges[:-2, None]) / width[:-1, None]
    falling = (edges[2:, None] - bins[None, :]) / width[1:, None]
    bank = np.maximum(0.0, np.minimum(rising, falling))
    if front_end.mel_slopes == "mel":
        bank[:, 0] = 0.0  # TensorFlow leaves the constant component out of every band
    return np.asarray(bank, np.float32)


def _published_edges(lowest: float, highest: float, count: int) -> NDArray[np.float32]:
    """Band edges in hertz, rounded to float32 after each operation as torchaudio rounds them.

    The foot of a triangle is a difference of nearly equal numbers: with exact edges a spectrum whose energy
    sits there would differ by hundredths of a decibel from the one the published weights were trained on.
    """
    step = np.float32(highest - lowest) / np.float32(count - 1)
    index = np.arange(count)
    from_below = (np.float64(np.float32(lowest)) + np.float64(step) * index).astype(np.float32)
    from_above = (np.float64(np.float32(highest)) - np.float64(step) * (count - 1 - index)).astype(np.float32)
    mel = np.where(index < count // 2, from_below, from_above)
    ratio = np.power(10.0, (mel / np.float32(2595.0)).astype(np.float64)).astype(np.float32)
    return np.asarray(np.float32(700.0) * (ratio - np.float32(1.0)))


@lru_cache(maxsize=8)
def _tables(front_end: FrontEnd) -> tuple[Waveform, Waveform, int]:
    """Window, transposed mel bank without the bins that no band uses, and the number of bins kept."""
    bank = mel_bank(front_end)
    used = int(np.flatnonzero(bank.any(axis=0))[-1]) + 1
    window = hann_window(front_end.win_length, front_end.n_fft)
    return window.astype(np.float32), np.ascontiguousarray(bank[:, :used].T), used


@lru_cache(maxsize=8)
def _products(front_end: FrontEnd) -> MelProducts:
    window = hann_window(front_end.win_length, front_end.n_fft)
    return MelProducts(window, mel_bank(front_end), front_end.hop_length, front_end.power)


def spectra(padded: Waveform, front_end: FrontEnd) -> LogMel:
    """What every complete frame of padded samples (m,) is by itself, whatever lies beside it: shape (frames, n).

    Mel energies for the compression "log", and for "decibel" those of the transform's bins, since a product with the
    mel bank may round a frame otherwise in another block.
    """
    if front_end.compression == "log":
        return _products(front_end)(padded).T
    _, _, used = _tables(front_end)
    energy = np.empty((1 + (padded.size - front_end.n_fft) // front_end.hop_length, used), np.float32)
    for place, block in _energies(padded, front_end):
        energy[place] = block
    return energy


def mel_of_spectra(spectrum: LogMel, front_end: FrontEnd) -> LogMel:
    """Mel energies (frames, n_mels) of what `spectra` gives for the frames of a clip, as `mel_frames` computes them."""
    if front_end.compression == "log":
        return spectrum
    mel, bank = np.empty((len(spectrum), front_end.n_mels), np.float32), _tables(front_end)[1]
    for start in range(0, len(mel), BLOCK_FRAMES):
        np.matmul(spectrum[start : start + BLOCK_FRAMES], bank, out=mel[start : start + BLOCK_FRAMES])
    return mel


def mel_frames(padded: Waveform, front_end: FrontEnd) -> LogMel:
    """Mel energies of every complete frame in samples that are already padded or part of a stream.

    `padded` (m,) float32 → (1 + (m - n_fft) // hop, n_mels) float32, before compression.
    """
    if front_end.compression == "log":
        return spectra(padded, front_end)
    bank = _tables(front_end)[1]
    mel = np.empty((1 + (padded.size - front_end.n_fft) // front_end.hop_length, front_end.n_mels), np.float32)
    for place, energy in _energies(padded, front_end):
        np.matmul(energy, bank, out=mel[place])
    return mel


def _energies(padded: Waveform, front_end: FrontEnd) -> Iterator[tuple[slice, LogMel]]:
    """Blocks of frames, and the energies of their transforms' bins.

    One transform of a complete clip spends most of its time getting fresh memory from the system.
    """
    window, _, used = _tables(front_end)
    frames = np.lib.stride_tricks.sliding_window_view(padded, front_end.n_fft)[:: front_end.hop_length]
    for start in range(0, len(frames), BLOCK_FRAMES):
        spectrum = np.fft.rfft(frames[start : start + BLOCK_FRAMES] * window, axis=1)[:, :used]
        energy = spectrum.real**2 + spectrum.imag**2
        if front_end.power == 1:
            energy = np.sqrt(energy)
        yield slice(start, start + BLOCK_FRAMES), energy.astype(np.float32, copy=False)


def logarithm(mel: LogMel, front_end: FrontEnd) -> LogMel:
    """Logarithm of mel energies: the part of the compression that needs no other frame. Any shape, float32."""
    if front_end.compression == "log":
        return np.asarray(np.log(mel + np.float32(front_end.log_offset)))
    return np.asarray(10.0 * np.log10(np.maximum(mel, np.float32(front_end.amin))))


def normalised(log_mel: LogMel, front_end: FrontEnd) -> LogMel:
    """Logarithms of one clip at `clip_level` and with the clip's own floor: what depends on all of its frames.

    Any shape, float32. The floor lies `top_db` below the clip's maximum ("decibel" only).
    """
    if front_end.clip_level is not None:
        log_mel = _levelled(log_mel, front_end)
    if front_end.compression == "log":
        return log_mel
    return np.asarray(np.maximum(log_mel, log_mel.max() - np.float32(front_end.top_db)))


def _levelled(log_mel: LogMel, front_end: FrontEnd) -> LogMel:
    """Logarithms of one clip whose mean mel power has the front end's level."""
    energy = _mel_energies(log_mel, front_end)
    return _at_gain(log_mel, energy, front_end, _gain(energy, front_end))


def raised(log_mel: LogMel, front_end: FrontEnd, gain: float) -> LogMel:
    """Logarithms of mel energies that are `gain` decibels louder. Any shape, float32."""
    return _at_gain(log_mel, _mel_energies(log_mel, front_end), front_end, gain) if gain else log_mel


def frame_powers(log_mel: LogMel, front_end: FrontEnd) -> NDArray[np.float32]:
    """Mean mel power of each frame of logarithms: (n, n_mels) → (n,)."""
    energy = _mel_energies(log_mel, front_end)
    return np.asarray(np.mean(np.square(energy) if front_end.power == 1 else energy, axis=1))


def gain_for(power: float, front_end: FrontEnd) -> float:
    """Decibels by which mel energies of a mean `power` are raised to the front end's level; 0 where it has none."""
    if front_end.clip_level is None:
        return 0.0
    decibels = front_end.clip_level - 10.0 * float(np.log10(max(power, LEAST_MEAN_POWER)))
    return decibels * (0.5 if front_end.power == 1 else 1.0)


def _mel_energies(log_mel: LogMel, front_end: FrontEnd) -> LogMel:
    if front_end.compression == "log":
        return np.asarray(np.maximum(np.exp(log_mel) - np.float32(front_end.log_offset), 0.0))
    return np.asarray(np.exp(log_mel * np.float32(np.log(10.0) / 10.0)))


def _at_gain(log_mel: LogMel, energy: LogMel, front_end: FrontEnd, gain: float) -> LogMel:
    if front_end.compression == "log":
        return np.asarray(np.log(energy * np.float32(10.0 ** (gain / 10.0)) + np.float32(front_end.log_offset)))
    return np.asarray(log_mel + np.float32(gain))


def _gain(energy: LogMel, front_end: FrontEnd) -> float:
    """Decibels that bring a clip's mel energies to the front end's level."""
    return gain_for(float(np.mean(np.square(energy) if front_end.power == 1 else energy)), front_end)  # sums in pairs


def compress(mel: LogMel, front_end: FrontEnd) -> LogMel:
    """Mel energies of one clip to log-mel, with that clip's own level and floor. Any shape, float32."""
    if front_end.compression == "log" and front_end.clip_level is not None:  # one logarithm is enough
        gain = _gain(mel, front_end)
        return logarithm(mel * np.float32(10.0 ** (gain / 10.0)), front_end)
    return normalised(logarithm(mel, front_end), front_end)


def log_mel(samples: Waveform, front_end: FrontEnd) -> LogMel:
    """Log-mel spectrogram of one clip.

    `samples` (n,) float32 in [-1, 1] at `front_end.sample_rate`, n > n_fft // 2 → (n_mels, n // hop + 1).
    The clip's ends are reflected by half a window, as `torch.stft(center=True)` does.

    Raises ValueError for a clip too short to reflect.
    """
    mel = mel_frames(reflected(samples, front_end), front_end)
    return np.ascontiguousarray(compress(mel, front_end).T)


def reflected(samples: Waveform, front_end: FrontEnd) -> Waveform:
    """A clip (n,) with half a transform of its own reflection at either end: shape (n + n_fft,).

    Raises ValueError for a clip too short to reflect.
    """
    half = front_end.n_fft // 2
    if samples.ndim != 1 or samples.size <= half:
        raise ValueError(f"a clip needs one axis and more than {half} samples, not shape {samples.shape}")
    return np.concatenate((samples[half:0:-1], samples, samples[-2 : -half - 2 : -1]), dtype=np.float32)
