"""How many connections a second are served, so that a flood of them takes no more of the processor than that.

A flooded listener that answered everybody would caption late: each request takes about a millisecond of what all
threads of Python share. What is above the budget of an address is closed where it is accepted, in some microseconds.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from edgecap.util.limits import MOST_ADDRESSES, REQUESTS_AT_ONCE, REQUESTS_EACH_SECOND

STRANGERS = ""
"""Whose budget all addresses share that were not welcomed."""
SHARED = 2.0
"""That budget, in those of one address."""
SITE_BITS = 64
"""Of an IPv6 address: one visitor has all that follow."""


class RequestBudget:
    """Token buckets: one of each address, and a common one of those that were never welcomed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._levels = OrderedDict[str, tuple[float, float]]()
        """What is left of each budget, and when that was so; the latest used last."""
        self._welcome = OrderedDict[str, None]()

    def spend(self, address: str) -> bool:
        """Whether a connection from this address is served."""
        visitor = visitor_of(address)
        with self._lock:
            if not self._take(visitor, 1.0):
                return False
            return visitor in self._welcome or self._take(STRANGERS, SHARED)

    def welcome(self, address: str) -> None:
        """This address is one that may use what is served: no stranger uses up its budget."""
        visitor = visitor_of(address)
        with self._lock:
            self._welcome[visitor] = None
            self._welcome.move_to_end(visitor)
            if len(self._welcome) > MOST_ADDRESSES:
                self._welcome.popitem(last=False)

    def _take(self, visitor: str, share: float) -> bool:
        now, most = self._clock(), share * REQUESTS_AT_ONCE
        level, since = self._levels.get(visitor, (most, now))
        level = min(most, level + (now - since) * share * REQUESTS_EACH_SECOND)
        enough = level >= 1.0
        self._levels[visitor] = level - enough, now
        self._levels.move_to_end(visitor)
        if len(self._levels) > MOST_ADDRESSES:
            self._levels.popitem(last=False)
        return enough


def visitor_of(address: str) -> str:
    """What a visitor cannot change: an IPv4 address, or the network of an IPv6 one."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    return str(known.ipv4_mapped or known.packed[: SITE_BITS // 8].hex())
