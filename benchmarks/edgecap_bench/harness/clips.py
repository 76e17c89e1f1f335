"""The sounds that a model is measured on, all of the length of its window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecap.audio.file import AudioFile
from edgecap.audio.resample import resampled
from edgecap.audio.samples import to_mono
from edgecap.errors import AudioError
from edgecap.types import Waveform

ENDINGS = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"}
MADE = ("hum", "hiss", "ticks", "glide")


@dataclass(frozen=True)
class Clip:
    """One sound."""

    name: str
    samples: Waveform
    """Shape (n,), float32 in [-1, 1] at the model's rate."""


def load_clips(folder: Path | None, rate: int, length: int) -> list[Clip]:
    """The sounds of `folder` by name, or made ones for None: mono, at `rate` hertz, `length` samples each.

    A longer sound is cut, a shorter one repeated, so that every clip costs the front end and the encoder the same.
    Raises AudioError for a folder without sounds and for one that cannot be read.
    """
    if folder is None:
        return made_clips(rate, length)
    if not folder.is_dir():
        raise AudioError(f"there is no folder {folder}; name one that holds sound files")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    if not paths:
        raise AudioError(f"{folder} holds no sound files ({', '.join(sorted(ENDINGS))}); name a folder that does")
    return [Clip(path.name, np.resize(read_start(path, rate, length), length)) for path in paths]


def made_clips(rate: int, length: int) -> list[Clip]:
    """Four sounds made from arithmetic, the same on every machine, for where no recordings are at hand."""
    time = np.arange(length) / rate
    noise = np.random.default_rng(0).standard_normal(length)
    sounds = (
        0.3 * np.sin(2 * np.pi * 100 * time) + 0.1 * np.sin(2 * np.pi * 300 * time),
        0.1 * noise,
        0.15 * noise * np.exp(-40 * (time % 0.5)),
        0.3 * np.sin(2 * np.pi * (300 + 100 * time) * time),
    )
    return [Clip(name, sound.astype(np.float32)) for name, sound in zip(MADE, sounds, strict=True)]


def read_start(path: Path, rate: int, length: int) -> Waveform:
    """The first `length` samples of a sound file, or fewer: mono at `rate` hertz. Raises AudioError."""
    parts: list[Waveform] = []
    with AudioFile(path) as sound:
        for block in resampled((to_mono(block) for block in sound.blocks()), sound.sample_rate, rate):
            parts.append(block)
            if sum(part.size for part in parts) >= length:
                break
    return np.concatenate(parts)[:length]
