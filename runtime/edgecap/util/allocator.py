"""glibc's memory allocator, in a process that runs for months; with any other allocator nothing happens here."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

M_ARENA_MAX = -8
"""mallopt(3)."""


def use_one_arena() -> None:
    """Let all threads take memory from one place, instead of eight a core, each with gaps of its own.

    For the beginning of a process: threads that have a place keep it.
    """
    if mallopt := _function("mallopt"):
        mallopt(M_ARENA_MAX, 1)


def give_back() -> None:
    """Return memory that is free to the system: gaps between what is used are kept otherwise, and add up."""
    if trim := _function("malloc_trim"):
        trim(0)


def _function(name: str) -> Callable[..., int] | None:
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
    return function
