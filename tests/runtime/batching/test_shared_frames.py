"""Windows that overlap get the log-mel that each has alone, bit by bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgecap.audio.frontend import FrontEnd, log_mel, spectra
from edgecap.audio.windows import WindowPlan
from edgecap.batching import shared_frames
from edgecap.batching.shared_frames import SharedFrames
from support.signals import noise

PUBLISHED = FrontEnd()
SHIPPED = FrontEnd(win_length=400, power=1, f_min=125, f_max=7_500, mel_slopes="mel", compression="log", clip_level=5.0)


def sound(seconds: float) -> np.ndarray:
    """Noise that becomes louder and stops, so that each window has a level and a floor of its own."""
    samples = noise(seconds)
    return samples * np.linspace(0.01, 1.0, samples.size, dtype=np.float32) * (np.arange(samples.size) % 40_000 > 9_000)


@pytest.mark.parametrize(
    "front_end", [PUBLISHED, SHIPPED, replace(PUBLISHED, clip_level=3.0), replace(SHIPPED, power=2)]
)
@pytest.mark.parametrize("hop", [0.5, 1.0, 2.56, 5.0, 9.98, 10.0, 12.0, 0.705])
def test_each_window_has_the_bits_that_it_has_alone(front_end: FrontEnd, hop: float) -> None:
    plan = WindowPlan(length=160_000, hop=round(hop * 16_000), shortest_tail=16_000)
    shared = SharedFrames(front_end, plan.hop)
    windows = list(plan.cut([sound(14.37)]))
    assert len(windows) > 1
    for window in windows:
        np.testing.assert_array_equal(shared(window.start, window.samples), log_mel(window.samples, front_end))


@pytest.mark.parametrize("front_end", [PUBLISHED, SHIPPED])
def test_windows_that_were_left_out_as_silent_do_not_matter(front_end: FrontEnd) -> None:
    plan = WindowPlan(length=32_000, hop=8_000, shortest_tail=16_000)
    shared = SharedFrames(front_end, plan.hop)
    for window in list(plan.cut([sound(8)]))[::3]:
        np.testing.assert_array_equal(shared(window.start, window.samples), log_mel(window.samples, front_end))


@pytest.mark.parametrize("front_end", [PUBLISHED, SHIPPED])
def test_frames_are_computed_once(front_end: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []

    def counted(padded: np.ndarray, front_end: FrontEnd) -> np.ndarray:
        frames = spectra(padded, front_end)
        computed.append(len(frames))
        return frames

    monkeypatch.setattr(shared_frames, "spectra", counted)
    shared = SharedFrames(front_end, 16_000)
    plan = WindowPlan(length=160_000, hop=16_000, shortest_tail=16_000)
    windows = [shared(window.start, window.samples) for window in plan.cut([sound(20)])]
    # 100 frames a window are new, and 4 at its ends its own
    assert len(windows) == 11
    assert sum(computed) == 1001 + 10 * 104
