"""A captioner with a bank, and sounds to teach it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from edgecap.captioner import Captioner
from edgecap.errors import DataError
from edgecap.sounds.bank import Bank, load_bank, unit
from edgecap.types import Waveform

RATE = 16_000
WIDTH = 8


@cache
def shipped_captioner() -> Captioner:
    """The model of the package; the test is skipped where its bank is not made yet."""
    captioner = Captioner.load(threads=1)
    try:
        load_bank(captioner.bundle)
    except DataError as error:
        pytest.skip(str(error))
    return captioner


def chime(number: int = 0, seconds: float = 1.2) -> Waveform:
    """Two strokes of a door's chime, at another level and in other noise for each number."""
    random, time = np.random.default_rng(number), np.arange(int(seconds * RATE)) / RATE
    second = np.maximum(time - 0.4, 0.0)
    strokes = np.exp(-4 * time) * np.sin(2 * np.pi * 880 * time) + (time > 0.4) * np.exp(-3 * second) * np.sin(
        2 * np.pi * 660 * second
    )
    return np.asarray(strokes * random.uniform(0.1, 0.5) + random.normal(0.0, 0.001, time.size), np.float32)


def rasp(number: int = 0) -> Waveform:
    """Bursts of noise."""
    random, time = np.random.default_rng(100 + number), np.arange(RATE) / RATE
    return np.asarray(random.normal(0.0, 0.2, RATE) * (np.sin(2 * np.pi * 6 * time) > 0), np.float32)


def plain_bank(windows: int = 60) -> Bank:
    """A bank of embeddings of 8 numbers, without a model: windows of ten frames in random directions."""
    random = np.random.default_rng(0)
    frames = unit(random.normal(size=(windows, 10, WIDTH)).astype(np.float32))
    eye = np.eye(WIDTH, dtype=np.float32)
    return Bank("0" * 64, np.zeros(WIDTH, np.float32), eye, np.rint(frames * 127).astype(np.int8), 0.32)
