"""Synthetic sounds for tests."""

from __future__ import annotations

import numpy as np

RATE = 16_000


def noise(seconds: float, rate: int = RATE, seed: int = 0, level: float = 0.1) -> np.ndarray:
    """White noise, mono."""
    return (np.random.default_rng(seed).standard_normal(round(seconds * rate)) * level).astype(np.float32)


def tone(seconds: float, rate: int = RATE, frequency: float = 440.0, level: float = 0.3) -> np.ndarray:
    """A sine, mono."""
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)
