"""glibc's allocator, asked in a process of its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another allocator than glibc's")

BEGIN = """
import ctypes, threading
from edgecap.util.allocator import give_back, use_one_arena
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
"""
TRIM = """
def resident():
    return 4096 * int(open("/proc/self/statm").read().split()[1])
blocks = [libc.malloc(60_000) for _ in range(1000)]
for block in blocks:
    ctypes.memset(block, 1, 60_000)
held = libc.malloc(60_000)  # behind them, so that the end of the heap stays where it is
for block in blocks:
    libc.free(block)
before = resident()
give_back()
print(before - resident())
"""
ARENA = """
use_one_arena()
heap = next(line for line in open("/proc/self/maps") if line.endswith("[heap]\\n")).split("-")[0]
places = []
thread = threading.Thread(target=lambda: places.append(libc.malloc(10_000)))
thread.start()
thread.join()
print(int(abs(places[0] - int(heap, 16)) < 1 << 30))
"""


def said(code: str) -> int:
    done = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


def test_memory_that_is_free_is_given_back() -> None:
    assert said(TRIM) > 50_000_000


def test_a_thread_takes_its_memory_from_the_one_heap() -> None:
    assert said(ARENA) == 1
    assert said(ARENA.replace("use_one_arena()\n", "")) == 0  # else it says nothing
