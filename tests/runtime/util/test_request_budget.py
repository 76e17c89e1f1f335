"""How many connections of an address are served, and that the others' are not fewer for it."""

from __future__ import annotations

import pytest

from edgecap.util.http.request_budget import SHARED, RequestBudget, visitor_of
from edgecap.util.limits import MOST_ADDRESSES, REQUESTS_AT_ONCE, REQUESTS_EACH_SECOND
from support.live_parts import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def served(budget: RequestBudget, count: int, address: str = "10.0.0.1") -> int:
    return sum(budget.spend(address) for _ in range(count))


def test_an_address_is_served_at_once_and_then_so_often_a_second(clock: Clock) -> None:
    budget = RequestBudget(clock)
    assert served(budget, 1_000) == REQUESTS_AT_ONCE
    clock.sleep(2.0)
    assert served(budget, 1_000) == 2 * REQUESTS_EACH_SECOND
    clock.sleep(3600.0)
    assert served(budget, 1_000) == REQUESTS_AT_ONCE


def test_a_flood_takes_nothing_from_another_address(clock: Clock) -> None:
    budget = RequestBudget(clock)
    served(budget, 10_000)
    assert served(budget, 20, "10.0.0.2") == 20


def test_many_strangers_take_nothing_from_who_was_welcome(clock: Clock) -> None:
    budget = RequestBudget(clock)
    budget.welcome("10.0.0.2")
    strangers = sum(served(budget, 100, f"10.1.0.{number}") for number in range(200))
    assert strangers == SHARED * REQUESTS_AT_ONCE
    assert served(budget, 1, "10.0.0.3") == 0
    assert served(budget, 1_000, "10.0.0.2") == REQUESTS_AT_ONCE


def test_what_is_remembered_is_bounded_and_a_flood_stays_known(clock: Clock) -> None:
    budget = RequestBudget(clock)
    for number in range(3 * MOST_ADDRESSES):
        budget.spend("10.0.0.1")
        budget.spend(f"10.{number >> 8}.{number & 255}.9")
        budget.welcome(f"10.{number >> 8}.{number & 255}.9")
    assert len(budget._levels) == len(budget._welcome) == MOST_ADDRESSES
    assert not budget.spend("10.0.0.1")


def test_an_address_of_ipv6_is_that_of_its_network() -> None:
    assert visitor_of("2001:db8::1") == visitor_of("2001:db8::ffff:1") != visitor_of("2001:db8:0:1::1")
    assert visitor_of("fe80::1%eth0") == visitor_of("fe80::2%eth0")
    assert visitor_of("::ffff:10.0.0.1") == visitor_of("10.0.0.1") == "10.0.0.1"
    assert visitor_of("no address") == "no address"
