"""Ctrl-C, SIGTERM and SIGHUP: the first asks, the second ends, whatever a library is doing.

Python runs a signal's handler between two of its own steps, so a graph of a model that never returns holds it up for
ever. A thread that the interpreter wakes at once (`signal.set_wakeup_fd`) ends the process then.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import NoReturn

LAST_SECONDS = 3.0
"""Time from the second signal to the end of the process at the latest; a third one ends it at once."""


def stop_on_signals() -> threading.Event:
    """An event that the first Ctrl-C, SIGTERM or SIGHUP sets, so that work can end; a second one ends the process.

    Then KeyboardInterrupt or SystemExit is raised in the main thread, so that what is open is still closed. A SIGHUP
    that is ignored, as under nohup, stays ignored.
    """
    stop = threading.Event()

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _end)

    hangup = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
    for number in (signal.SIGINT, signal.SIGTERM, *hangup):
        signal.signal(number, ask)
    return stop


def end_on_second_signal() -> None:
    """From now on two of these signals end the process, even while its main thread is in a call that never returns."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # a child's signals are not ours
    threading.Thread(target=_watch, args=(read,), name="edgecap signals", daemon=True).start()


def leave(code: int, *, at_once: bool = False) -> NoReturn:
    """End the process with an exit code, even if a thread is in a call that never returns.

    `at_once` leaves memory to the system, where nothing else is open: to free a model takes a tenth of a short command.
    """
    harmless = {threading.main_thread().name, "edgecap signals"}
    if not at_once and all(thread.name in harmless for thread in threading.enumerate()):
        sys.exit(code)
    # The interpreter would take the runtimes apart while that thread is in them, which aborts the process.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _watch(descriptor: int) -> None:
    count, last = 0, 0
    while count < 2:
        last = os.read(descriptor, 1)[0]
        count += last in {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    timer = threading.Timer(LAST_SECONDS, os._exit, (128 + last,))
    timer.daemon = True
    timer.start()
    while os.read(descriptor, 1)[0] not in {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}:
        pass
    os._exit(128 + last)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
