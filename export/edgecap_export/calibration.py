"""Sounds to calibrate on: a folder of recordings to log-mel windows of every loudness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.file import AudioFile
from edgecap.audio.frontend import FrontEnd, log_mel
from edgecap.audio.resample import resampled
from edgecap.audio.samples import loudest_level, to_mono
from edgecap.errors import AudioError
from edgecap.types import Waveform

ENDINGS = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"}
GAINS_DB = (0.0, -12.0, -24.0, -36.0)
"""Each recording is heard at these levels, since a microphone hears one sound from near and from far."""
MOST_WINDOWS = 256
MOST_OF_ONE_FILE = 6
"""Windows of one recording, so that a long one does not decide alone."""
ENOUGH_CLIPS = 32
"""Recordings below which ranges are likely to miss sounds; 200 are better."""
SILENT_DBFS = -65.0


@dataclass(frozen=True)
class CalibrationSet:
    """What ranges are measured on."""

    log_mels: tuple[NDArray[np.float32], ...]
    """Each (1, n_mels, window_frames)."""
    clips: int
    """Recordings they come from."""
    warnings: tuple[str, ...]
    """What is wrong with them, in sentences that say what it does to ranges."""


def read_calibration(folder: Path, front_end: FrontEnd, window_frames: int) -> CalibrationSet:
    """The recordings in `folder` and below. Raises AudioError where there are none or one cannot be read."""
    if not folder.is_dir():
        raise AudioError(f"there is no folder {folder} to calibrate on; name one that holds recordings")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not paths:
        raise AudioError(
            f"{folder} holds no recordings to calibrate on ({', '.join(sorted(ENDINGS))}); name a folder "
            "of 200 or more that sound like what the model will hear"
        )
    if len(paths) > MOST_WINDOWS:
        paths = [paths[index] for index in np.linspace(0, len(paths) - 1, MOST_WINDOWS).astype(int)]
    longest = (window_frames - 1) * front_end.hop_length
    windows = [_windows(path, front_end.sample_rate, longest) for path in paths]
    sounds = [window for found in windows for window in found]
    pairs = [(file, sound, gain) for file, found in enumerate(windows) for sound in found for gain in GAINS_DB]
    if len(pairs) > MOST_WINDOWS:
        pairs = [pairs[index] for index in _chosen([file for file, _, _ in pairs])]
    warnings = []
    if all(loudest_level(sound, front_end.sample_rate) < SILENT_DBFS for sound in sounds):
        warnings.append(
            f"all recordings in {folder} are silent: the ranges fit silence, and whatever is louder will be cut off"
        )
    elif len(paths) < ENOUGH_CLIPS:
        warnings.append(
            f"{len(paths)} recordings in {folder} are few: the ranges fit these sounds, and others may be "
            f"cut off; {ENOUGH_CLIPS} are the least that is sensible, 200 are better"
        )
    spectrograms = tuple(
        window_of(sound * np.float32(10 ** (gain / 20)), front_end, window_frames) for _, sound, gain in pairs
    )
    return CalibrationSet(spectrograms, len(paths), tuple(warnings))


def window_of(samples: Waveform, front_end: FrontEnd, window_frames: int) -> NDArray[np.float32]:
    """The log-mel of at most one window, padded with silence: (1, n_mels, window_frames)."""
    spectrogram = log_mel(samples, front_end)[:, :window_frames]
    missing = window_frames - spectrogram.shape[1]
    padded = np.pad(spectrogram, ((0, 0), (0, missing)), constant_values=front_end.silence)
    return padded[None].astype(np.float32)


def _chosen(files: Sequence[int]) -> list[int]:
    """`MOST_WINDOWS` places of a list that says which file each window is of: by chance, from every file first one,
    then a second, so that none is left out.
    """
    seen: Counter[int] = Counter()
    turns: list[tuple[int, int, int]] = []
    for index in np.random.default_rng(0).permutation(len(files)):
        turns.append((seen[files[index]], len(turns), int(index)))
        seen[files[index]] += 1
    return sorted(index for _, _, index in sorted(turns)[:MOST_WINDOWS])


def _windows(path: Path, rate: int, length: int) -> list[Waveform]:
    """At most `MOST_OF_ONE_FILE` windows of `length` samples from the beginning; a rest below a second is left out."""
    parts: list[Waveform] = []
    with AudioFile(path) as sound:
        for block in resampled((to_mono(block) for block in sound.blocks()), sound.sample_rate, rate):
            parts.append(block)
            if sum(part.size for part in parts) >= MOST_OF_ONE_FILE * length:
                break
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    windows = [samples[start : start + length] for start in range(0, max(samples.size, 1), length)][:MOST_OF_ONE_FILE]
    kept = [window for index, window in enumerate(windows) if index == 0 or window.size >= rate]
    shortest = 512  # the front end needs a few samples to work on
    return [np.pad(window, (0, max(0, shortest - window.size))).astype(np.float32) for window in kept]
