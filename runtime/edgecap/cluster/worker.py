"""What runs in a worker: a function that is made once there, and the answers that it gives."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgecap._version import __version__

Item = TypeVar("Item")
Result = TypeVar("Result")
Make = Callable[[int], Callable[[Item], Result]]
"""From the number of processor threads to the function of items; it and what it gives must be importable there."""


@dataclass(frozen=True)
class WorkerAnswer(Generic[Result]):
    """What became of one item."""

    result: Result | None = None
    error: Exception | None = None
    messages: tuple[tuple[str, int, str], ...] = ()
    """What was logged meanwhile: logger, level, text."""


class Job(Generic[Item, Result]):
    """The function of a worker, and what it logs."""

    def __init__(self, make: Make[Item, Result], threads: int) -> None:
        self._make, self._threads = make, threads
        self._call: Callable[[Item], Result] | None = None

    def start(self) -> WorkerAnswer[None]:
        """Make the function, which may take long: it loads a model."""

        def prepare() -> None:
            self._call = self._make(self._threads)

        return _answer(prepare)

    def run(self, item: Item) -> WorkerAnswer[Result]:
        """Call the function."""
        call = self._call
        assert call is not None
        return _answer(lambda: call(item))


def differs(version: str) -> str:
    """How edgecap here differs from the driver's `version`; empty where it does not."""
    return "" if version == __version__ else f"edgecap {__version__}"


class _Kept(logging.Handler):
    """Keeps warnings as text: a worker's standard error is a file that nobody reads."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append((record.name, record.levelno, record.getMessage()))


def _answer(call: Callable[[], Result]) -> WorkerAnswer[Result]:
    kept, root = _Kept(), logging.getLogger()
    root.addHandler(kept)
    try:
        return WorkerAnswer(call(), messages=tuple(kept.messages))
    except Exception as error:
        error.add_note(f"in a worker: {traceback.format_exc()}")
        return WorkerAnswer(error=_sendable(error), messages=tuple(kept.messages))
    finally:
        root.removeHandler(kept)


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a library put into it
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
