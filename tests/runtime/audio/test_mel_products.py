"""Mel energies by matrix products against a transform in float64, for every kind of front end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edgecap.audio.frontend import FrontEnd, hann_window, log_mel, mel_bank, mel_frames
from edgecap.audio.mel_products import MelProducts

YAMNET = FrontEnd(
    win_length=400, power=1, f_min=125.0, f_max=7_500.0, mel_slopes="mel", compression="log", log_offset=1e-3
)
KINDS = [
    FrontEnd(),
    YAMNET,
    FrontEnd(n_fft=400, win_length=400),  # 25 x 16: an odd number of residues
    FrontEnd(n_fft=375, win_length=301, hop_length=100),
    FrontEnd(n_fft=1024, win_length=1024, hop_length=320, n_mels=128),
    FrontEnd(n_fft=128, win_length=64, hop_length=200, n_mels=20),  # samples between the frames belong to none
    FrontEnd(n_fft=257, win_length=257, n_mels=10),  # a prime number
]


def samples(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, count).astype(np.float32)


@pytest.mark.parametrize("front_end", KINDS, ids=lambda kind: f"{kind.n_fft}-{kind.win_length}-{kind.hop_length}")
@pytest.mark.parametrize("frames", [1, 15, 16, 128, 129, 300])
def test_mel_energies_are_those_of_a_transform_in_float64(front_end: FrontEnd, frames: int) -> None:
    padded = samples(front_end.n_fft + (frames - 1) * front_end.hop_length + front_end.hop_length // 2)
    cut = np.lib.stride_tricks.sliding_window_view(padded, front_end.n_fft)[:: front_end.hop_length]
    window, bank = hann_window(front_end.win_length, front_end.n_fft), mel_bank(front_end)
    spectrum = np.fft.rfft(cut.astype(np.float64) * window)
    expected = np.abs(spectrum) ** front_end.power @ bank.T.astype(np.float64)
    ours = MelProducts(window, bank, front_end.hop_length, front_end.power)(padded).T
    assert ours.shape == (frames, front_end.n_mels)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=1e-6 * expected.max())


def test_a_frame_has_the_same_bits_wherever_its_block_begins() -> None:
    sound = samples(200 * 160 + 512)
    together = mel_frames(sound, YAMNET)
    for first, count in ((0, 10), (37, 5), (150, 40)):
        stretch = sound[first * 160 : (first + count - 1) * 160 + 512]
        assert np.array_equal(mel_frames(stretch, YAMNET), together[first : first + count])


def test_threads_share_a_front_end() -> None:
    clips = [samples(40_000 + 1_000 * number, number) for number in range(8)]
    expected = [log_mel(clip, YAMNET) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        for ours, alone in zip(pool.map(lambda clip: log_mel(clip, YAMNET), clips * 4), expected * 4, strict=True):
            assert np.array_equal(ours, alone)


def test_a_clip_is_reflected_at_both_ends() -> None:
    clip = samples(3_000)
    expected = np.pad(clip, 256, mode="reflect")
    np.testing.assert_array_equal(log_mel(clip, YAMNET), np.log(mel_frames(expected, YAMNET) + np.float32(1e-3)).T)


def test_a_front_end_whose_bands_hold_no_bin_gives_nothing_there() -> None:
    narrow = FrontEnd(n_fft=64, win_length=64, n_mels=64, compression="log")
    assert not mel_bank(narrow).any(axis=1).all()
    ours = mel_frames(samples(6_400), narrow)
    assert (ours[:, ~mel_bank(narrow).any(axis=1)] == 0.0).all()
