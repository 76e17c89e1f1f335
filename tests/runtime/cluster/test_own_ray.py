"""A Ray that a command starts for itself: nobody else reaches it, and it ends with the command."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.mqtt_parts import eventually
from support.parallel.ray_parts import OWN_RAY, alive, descendants, listening, with_tests

pytest.importorskip("ray", reason="the extra edgecap[ray] is not installed")

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same in IPv6, and ::1, as /proc/net has them."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short name: sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="own-", dir="/tmp") as folder:
        yield Path(folder)


def start(place: Path) -> subprocess.Popen[str]:
    """A command with a Ray of its own that has done its work and waits."""
    places = {"TMPDIR": str(place), "HOME": str(place)}
    process = subprocess.Popen(
        [sys.executable, "-c", OWN_RAY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | places | {"PYTHONPATH": with_tests(), "PYTHONWARNINGS": "error"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "[10, 20, 30]\n"
    return process


def test_it_listens_on_loopback_and_leaves_nothing_behind_even_when_the_command_is_killed(place: Path) -> None:
    process = start(place)
    below = descendants(process.pid)
    addresses = listening(below)
    assert addresses
    assert addresses <= LOOPBACK
    process.kill()
    process.communicate(timeout=60)
    eventually(lambda: not alive(below), 40)
    eventually(lambda: not list(place.iterdir()))

    process = start(place)
    below = descendants(process.pid)
    output = process.communicate("\n", timeout=60)
    assert output == ("", "")
    assert process.returncode == 0
    eventually(lambda: not alive(below), 60)
    assert [path.name for path in place.iterdir()] == []  # neither there nor in its home folder
