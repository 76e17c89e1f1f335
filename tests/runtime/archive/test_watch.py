from __future__ import annotations

from datetime import UTC, datetime, timedelta

from edgecap.archive.inputs.find import PlannedSource
from edgecap.archive.watch import Settling

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def file(size: int, modified: float | None) -> PlannedSource:
    return PlannedSource("/a.wav", size, modified=None if modified is None else NOON + timedelta(seconds=modified))


def test_a_file_that_grows_is_not_whole_until_it_has_stayed_the_same_whatever_clock_its_recorder_has() -> None:
    for day in (-86_400.0, 0.0, 86_400.0):  # behind this machine's, or ahead
        clock = Clock()
        settling = Settling(10, clock)
        for size in range(5):
            assert not settling(file(size, day))
            clock.seconds += 9
        clock.seconds = 36 + 9.9  # last changed at 36
        assert not settling(file(4, day))
        clock.seconds = 46
        assert settling(file(4, day))


def test_a_new_time_with_the_same_size_is_a_change() -> None:
    clock = Clock()
    settling = Settling(10, clock)
    assert not settling(file(5, 50_000))
    clock.seconds = 10
    assert not settling(file(5, 50_001))
    clock.seconds = 20
    assert settling(file(5, 50_001))


def test_an_address_without_a_time_is_whole_when_its_size_stays() -> None:
    clock = Clock()
    settling = Settling(10, clock)
    assert not settling(file(5, None))
    clock.seconds = 10
    assert settling(file(5, None))
