"""Streams are cut into windows as documented, whatever chunks they come in."""

from __future__ import annotations

import numpy as np
import pytest

from edgecap.audio.windows import WindowPlan


def cut(total: int, chunk: int, **lengths: int) -> list[tuple[int, int]]:
    """(start, end) of each window over a stream whose samples are their own positions."""
    stream = np.arange(total, dtype=np.float32)
    chunks = [stream[i : i + chunk] for i in range(0, total, chunk)]
    windows = list(WindowPlan(**lengths).cut(chunks))
    for window in windows:
        assert window.samples.tolist() == stream[window.start : window.start + window.samples.size].tolist()
    return [(window.start, window.start + window.samples.size) for window in windows]


def test_windows_follow_each_other_and_a_long_enough_tail_is_kept() -> None:
    assert cut(25, 4, length=10, hop=10, shortest_tail=3) == [(0, 10), (10, 20), (20, 25)]


def test_a_tail_that_is_too_short_is_dropped() -> None:
    assert cut(22, 4, length=10, hop=10, shortest_tail=3) == [(0, 10), (10, 20)]


def test_the_only_window_is_kept_however_short() -> None:
    assert cut(1, 4, length=10, hop=10, shortest_tail=3) == [(0, 1)]


def test_overlapping_windows_end_when_no_new_sound_is_left() -> None:
    assert cut(20, 7, length=10, hop=5, shortest_tail=3) == [(0, 10), (5, 15), (10, 20)]
    assert cut(23, 7, length=10, hop=5, shortest_tail=3) == [(0, 10), (5, 15), (10, 20), (15, 23)]


def test_a_hop_longer_than_the_window_leaves_gaps() -> None:
    assert cut(30, 3, length=5, hop=12, shortest_tail=3) == [(0, 5), (12, 17), (24, 29)]
    assert cut(27, 3, length=5, hop=12, shortest_tail=3) == [(0, 5), (12, 17), (24, 27)]


def test_an_empty_stream_has_no_windows() -> None:
    assert cut(0, 4, length=10, hop=10, shortest_tail=3) == []


@pytest.mark.parametrize("hop", [1, 3, 9, 10, 11, 25])
def test_counting_agrees_with_cutting(hop: int) -> None:
    for total in range(70):
        for chunk in (1, 6, 100):
            lengths = {"length": 10, "hop": hop, "shortest_tail": 4}
            assert WindowPlan(**lengths).count(total) == len(cut(total, chunk, **lengths)), (total, chunk)
