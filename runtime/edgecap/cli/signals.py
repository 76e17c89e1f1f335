"""Ending on Ctrl-C and SIGTERM: the first lets everything come to its end, the second ends at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType


def stop_on_signals() -> threading.Event:
    """An event that the first Ctrl-C or SIGTERM sets; a second one ends the process at once."""
    stop = threading.Event()

    def first(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, first)
    return stop
