"""Sounds to calibrate on: a folder of recordings to log-mel windows of every loudness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.file import decode, sound_files
from edgecap.audio.frontend import FrontEnd, log_mel
from edgecap.audio.samples import loudest_level
from edgecap.errors import AudioError
from edgecap.types import Waveform

GAINS_DB = (0.0, -12.0, -24.0, -36.0)
"""Each recording is used at these levels, since a microphone records one sound from near and from far."""
MOST_WINDOWS = 256
MOST_OF_ONE_FILE = 6
"""Windows of one recording, so that a long one does not decide alone."""
ENOUGH_CLIPS = 32
"""Recordings below which ranges are likely to miss sounds; 200 are better."""
SILENT_DBFS = -65.0
SHORTEST = 512
"""Samples that the front end needs; shorter recordings are padded with zeros."""


@dataclass(frozen=True)
class CalibrationSet:
    """What ranges are measured on."""

    log_mels: tuple[NDArray[np.float32], ...]
    """Each (1, n_mels, window_frames)."""
    clips: int
    """Recordings they come from."""
    warnings: tuple[str, ...]
    """What is wrong with them, in sentences that say what it does to ranges; recordings that cannot be read first."""


def read_calibration(folder: Path, front_end: FrontEnd, window_frames: int) -> CalibrationSet:
    """The recordings in `folder` and below; those that cannot be read are left out and named in the warnings.

    Raises AudioError where there are none or none can be read.
    """
    paths = sound_files(folder)
    if len(paths) > MOST_WINDOWS:
        paths = [paths[index] for index in np.linspace(0, len(paths) - 1, MOST_WINDOWS).astype(int)]
    length = (window_frames - 1) * front_end.hop_length
    windows: list[tuple[int, Waveform]] = []
    warnings: list[str] = []
    for number, path in enumerate(paths):
        try:
            windows += [(number, window) for window in _windows(path, front_end, length)]
        except AudioError as error:
            warnings.append(f"skipped: {error}")
    if not windows:
        raise AudioError(f"none of the {len(paths)} recordings in {folder} can be read; the first: {warnings[0]}")
    clips = len(paths) - len(warnings)
    if warnings:
        warnings.append(f"{len(warnings)} of {len(paths)} recordings in {folder} could not be read")
    levelled = [(number, window, gain) for number, window in windows for gain in GAINS_DB]
    if len(levelled) > MOST_WINDOWS:
        levelled = [levelled[index] for index in _spread_choice([number for number, _, _ in levelled])]
    if all(loudest_level(window, front_end.sample_rate) < SILENT_DBFS for _, window in windows):
        warnings.append(
            f"all recordings in {folder} are silent: the ranges fit silence, and anything louder will be clipped"
        )
    elif clips < ENOUGH_CLIPS:
        warnings.append(
            f"{clips} recordings in {folder} are few: the ranges fit these sounds, and others may be "
            f"clipped; use at least {ENOUGH_CLIPS}, better 200"
        )
    log_mels = tuple(
        window_of(window * np.float32(10 ** (gain / 20)), front_end, window_frames) for _, window, gain in levelled
    )
    return CalibrationSet(log_mels, clips, tuple(warnings))


def window_of(samples: Waveform, front_end: FrontEnd, window_frames: int) -> NDArray[np.float32]:
    """The log-mel of at most one window, padded with silence: (1, n_mels, window_frames)."""
    spectrogram = log_mel(samples, front_end)[:, :window_frames]
    missing = window_frames - spectrogram.shape[1]
    padded = np.pad(spectrogram, ((0, 0), (0, missing)), constant_values=front_end.silence)
    return padded[None].astype(np.float32)


def _spread_choice(files: Sequence[int]) -> list[int]:
    """`MOST_WINDOWS` indices into a list that gives the file of each window: drawn at random, one from every file
    first, then a second, so that no file is left out.
    """
    drawn: Counter[int] = Counter()
    turns: list[tuple[int, int, int]] = []
    for index in np.random.default_rng(0).permutation(len(files)):
        turns.append((drawn[files[index]], len(turns), int(index)))
        drawn[files[index]] += 1
    return sorted(index for _, _, index in sorted(turns)[:MOST_WINDOWS])


def _windows(path: Path, front_end: FrontEnd, length: int) -> list[Waveform]:
    """At most `MOST_OF_ONE_FILE` windows of `length` samples from the beginning; a rest below a second is left out."""
    rate = front_end.sample_rate
    samples = decode(path, rate, MOST_OF_ONE_FILE * length / rate)
    windows = [samples[start : start + length] for start in range(0, max(samples.size, 1), length)]
    kept = [window for index, window in enumerate(windows) if index == 0 or window.size >= rate]
    return [np.pad(window, (0, max(0, SHORTEST - window.size))).astype(np.float32) for window in kept]
