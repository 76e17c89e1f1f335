"""The last ten seconds of each microphone: how long they are held, and what is kept aside of them."""

from __future__ import annotations

import numpy as np
import pytest

from edgecap.web.recent import HELD_SECONDS, MOST_TAKEN, TAKEN_SECONDS, RecentSound
from support.live_parts import Clock

RATE = 1_000


def feed(recent: RecentSound, first: int, last: int, source: str = "USB") -> None:
    """Samples that count from `first` to `last`, in blocks of a tenth of a second, at their places in the sound."""
    for start in range(first, last, 100):
        recent.push(source, np.arange(start, start + 100, dtype=np.float32), (start + 100) / RATE)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recent(clock: Clock) -> RecentSound:
    return RecentSound(RATE, clock=clock)


def test_the_last_ten_seconds_are_held_and_no_more(recent: RecentSound) -> None:
    assert recent.take("USB") is None
    feed(recent, 0, 4_000)
    taken = recent.take("USB")
    assert taken is not None
    assert taken.samples.tolist() == list(range(4_000))
    feed(recent, 4_000, 60_000)
    taken = recent.take("USB")
    assert taken is not None
    assert taken.samples.tolist() == list(range(50_000, 60_000))
    ((blocks, size, _),) = recent._held.values()
    assert size == sum(block.size for block in blocks) <= HELD_SECONDS * RATE + 100
    assert recent.take("Kitchen") is None


def test_what_follows_a_gap_does_not_continue_what_was_held(recent: RecentSound) -> None:
    feed(recent, 0, 3_000)
    feed(recent, 5_000, 6_000)
    taken = recent.take("USB")
    assert taken is not None
    assert taken.samples.tolist() == list(range(5_000, 6_000))


def test_nothing_is_held_of_a_microphone_that_is_paused(recent: RecentSound) -> None:
    feed(recent, 0, 3_000)
    feed(recent, 0, 3_000, "Kitchen")
    recent.forget("USB")
    assert recent.take("USB") is None
    assert recent.take("Kitchen") is not None


def test_what_is_taken_stays_for_a_while_and_is_bounded(recent: RecentSound, clock: Clock) -> None:
    feed(recent, 0, 3_000)
    identifiers = [taken.id for _ in range(MOST_TAKEN + 1) if (taken := recent.take("USB"))]
    assert [recent.taken(identifier) is not None for identifier in identifiers] == [False] + MOST_TAKEN * [True]
    recent.drop(identifiers[1])
    assert recent.taken(identifiers[1]) is None
    clock.now += TAKEN_SECONDS - 1.0
    assert recent.taken(identifiers[2]) is not None
    clock.now += 1.0
    feed(recent, 3_000, 3_100)  # whether anyone asks or not
    assert recent._taken == {}
