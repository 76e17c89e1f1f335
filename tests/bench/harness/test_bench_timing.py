"""Interleaved timing and its statistics."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from edgecap_bench.figures.figures import growth
from edgecap_bench.harness.timing import interleave, summarise


class Clock:
    """A clock that only moves when it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_timed_takes_turns_and_the_warm_up_is_not_counted() -> None:
    clock = Clock()
    order: list[tuple[str, int]] = []

    def timed(name: str, cost: float) -> Callable[[int], None]:
        def run(turn: int) -> None:
            order.append((name, turn))
            clock.now += cost * (turn + 1)

        return run

    seconds = interleave({"a": timed("a", 1.0), "b": timed("b", 2.0)}, 2, warm_up=1, clock=clock)
    assert order == [("a", 0), ("b", 0), ("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert seconds == {"a": [1.0, 2.0], "b": [2.0, 4.0]}


def test_progress_is_reported_outside_of_what_is_timed() -> None:
    clock = Clock()
    reported: list[tuple[float, float | None]] = []

    def progress(done: float, total: float | None, label: str = "") -> None:
        clock.now += 100.0
        reported.append((done, total))

    assert interleave({"a": lambda turn: None}, 2, warm_up=1, progress=progress, clock=clock) == {"a": [0.0, 0.0]}
    assert reported == [(1, 3), (2, 3), (3, 3)]


def test_no_round_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="at least one round"):
        interleave({"a": lambda turn: None}, 0)
    with pytest.raises(ValueError, match="empty sample"):
        summarise([])


def test_a_summary_is_not_moved_by_one_outlier() -> None:
    summary = summarise([1.0] * 30 + [1000.0])
    assert (summary.median, summary.low, summary.high, summary.p95, summary.count) == (1.0, 1.0, 1.0, 1.0, 31)


def test_a_summary_does_not_depend_on_the_order() -> None:
    assert summarise([3.0, 1.0, 2.0, 4.0]) == summarise([1.0, 2.0, 3.0, 4.0])
    assert summarise([1.0, 2.0, 3.0, 4.0]).median == 2.5


@pytest.mark.parametrize(
    ("count", "low", "high"), [(1, 1, 1), (5, 1, 5), (6, 1, 6), (10, 2, 9), (20, 6, 15), (100, 40, 61)]
)
def test_the_interval_has_the_ranks_of_the_tables(count: int, low: int, high: int) -> None:
    """Ranks of the 95 % sign-test interval, as statistical tables print them."""
    summary = summarise([float(rank) for rank in range(1, count + 1)])
    assert (summary.low, summary.high) == (low, high)


def test_the_interval_holds_the_true_median_at_least_as_often_as_it_says() -> None:
    source = random.Random(0)

    def samples() -> Iterator[bool]:
        for _ in range(2000):
            summary = summarise([source.expovariate(1.0) for _ in range(25)])
            yield summary.low <= 0.6931 <= summary.high

    assert 0.94 < sum(samples()) / 2000 < 0.99


def test_growth_is_seen_where_memory_climbs_and_not_where_it_settles() -> None:
    settled = [50.0, 90.0] + [100.0] * 98
    climbing = [100.0 + step for step in range(100)]
    assert growth(settled) == 0.0
    assert growth(climbing) == pytest.approx(80.0)
    assert growth([100.0]) == 0.0
