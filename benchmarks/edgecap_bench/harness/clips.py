"""The sounds that a model is measured on, all of the length of its window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecap.audio.file import decode, sound_files
from edgecap.bundle.manifest import Manifest
from edgecap.types import Waveform

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
    Raises AudioError for a folder without sounds and for a sound that cannot be read.
    """
    if folder is None:
        return made_clips(rate, length)
    return [Clip(path.name, np.resize(decode(path, rate, length / rate), length)) for path in sound_files(folder)]


def window_clips(folder: Path | None, manifest: Manifest) -> list[Clip]:
    """The clips of `load_clips` for a model: at its rate, as long as its window. Raises AudioError."""
    length = (manifest.encoder.window_frames - 1) * manifest.front_end.hop_length
    return load_clips(folder, manifest.front_end.sample_rate, length)


def check_clips(folder: Path | None) -> None:
    """Raise AudioError where `load_clips` would, before minutes of work."""
    load_clips(folder, 16_000, 1_600)


def made_clips(rate: int, length: int) -> list[Clip]:
    """Four computed sounds, the same on every machine, for use without recordings."""
    time = np.arange(length) / rate
    noise = np.random.default_rng(0).standard_normal(length)
    sounds = (
        0.3 * np.sin(2 * np.pi * 100 * time) + 0.1 * np.sin(2 * np.pi * 300 * time),
        0.1 * noise,
        0.15 * noise * np.exp(-40 * (time % 0.5)),
        0.3 * np.sin(2 * np.pi * (300 + 100 * time) * time),
    )
    return [Clip(name, sound.astype(np.float32)) for name, sound in zip(MADE, sounds, strict=True)]
