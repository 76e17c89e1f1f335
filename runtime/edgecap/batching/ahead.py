"""Work that a thread does ahead of the one that needs it."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Generator, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")
GRACE = 1.0
"""Seconds that an item in work is waited for at the end; it may be stuck in a pipe or a download."""
NAME = "edgecap decoding"


def ahead(items: Generator[Item, None, None], depth: int) -> Iterator[Item]:
    """The items of a generator, which runs in a thread; at most `depth` of them are made before they are taken.

    What it raises is raised here, at its place. The thread is ended and the generator closed when this one is, or when
    the process ends.
    """
    worker = _Worker(items)
    try:
        for _ in range(depth):
            worker.ask()
        while (item := worker.take()) is not None:
            worker.ask()
            yield item.value
    finally:
        worker.close()


class _Made(Generic[Item]):
    """An item, which may be None."""

    def __init__(self, value: Item) -> None:
        self.value = value


class _Worker(Generic[Item]):
    """A thread that makes one item each time that it is asked, so it never waits for room."""

    def __init__(self, items: Generator[Item, None, None]) -> None:
        self._items = items
        self._asked: SimpleQueue[None] = SimpleQueue()
        self._made: SimpleQueue[_Made[Item] | BaseException | None] = SimpleQueue()
        self._closed = threading.Event()
        # not waited for where it hangs; and ended before Python is taken down, since native code must not outlive it
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        atexit.register(self.close)
        self._thread.start()

    def ask(self) -> None:
        """Have one more item made."""
        self._asked.put(None)

    def take(self) -> _Made[Item] | None:
        """Wait for the next item; None behind the last. Raises what making it raised."""
        made = self._made.get()
        if isinstance(made, BaseException):
            raise made
        return made

    def close(self) -> None:
        """End the thread; one that is in the middle of an item is given some time."""
        atexit.unregister(self.close)
        self._closed.set()
        self.ask()
        if threading.current_thread() is not self._thread:  # where garbage is collected there
            self._thread.join(GRACE)

    def _run(self) -> None:
        try:
            while True:
                self._asked.get()
                if self._closed.is_set():
                    return
                self._made.put(_Made(next(self._items)))
        except StopIteration:
            self._made.put(None)
        except BaseException as error:
            self._made.put(error)
        finally:
            self._items.close()
