"""A real PulseAudio without a sound card, and the output of a listener that hears it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import soundfile

from edgecap.errors import MissingDependencyError
from edgecap_bench.live.virtual_microphone import VirtualMicrophone
from support.signals import noise

PATIENCE = 60.0
QUICK = """
[source]
lost_after = 2.0
retry = 0.5
longest_retry = 1.0

[stream]
constant_after = 1.0
"""
"""A listener that finds faults sooner than by default."""


@pytest.fixture
def microphone() -> Iterator[VirtualMicrophone]:
    """A stereo microphone; a test that needs it is skipped where PulseAudio is not installed."""
    try:
        opened = VirtualMicrophone(channels=2)
    except MissingDependencyError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


@pytest.fixture
def long_noise(tmp_path: Path) -> Path:
    """A minute of noise."""
    soundfile.write(tmp_path / "noise.wav", noise(60, 48_000), 48_000)
    return tmp_path / "noise.wav"


def listen(microphone: VirtualMicrophone, model: Path, *arguments: object) -> subprocess.Popen[str]:
    """`edgecap listen` with this microphone and `QUICK`."""
    (microphone.home / "quick.toml").write_text(QUICK)
    quick = ["--config", str(microphone.home / "quick.toml")]
    command = [sys.executable, "-m", "edgecap", "listen", "--model", str(model), *quick, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=microphone.environment, stdout=pipe, stderr=pipe, text=True)


def until(listening: subprocess.Popen[str], words: str) -> str:
    """Lines of standard error up to the one with these words."""
    assert listening.stderr is not None
    lines = []
    with _killed_if_late(listening):
        for line in listening.stderr:
            lines.append(line)
            if words in line:
                return "".join(lines)
    raise AssertionError(f"it ended without saying {words!r}: {''.join(lines)}")


def next_event(listening: subprocess.Popen[str], source: str = "default") -> dict[str, Any]:
    """The next event that begins at this microphone, of a listener with --json."""
    assert listening.stdout is not None
    with _killed_if_late(listening):
        for line in listening.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["kind"] == "begin" and event["source"] == source:
                return event
    raise AssertionError(f"no event began at {source}")


@contextmanager
def _killed_if_late(listening: subprocess.Popen[str]) -> Iterator[None]:
    watch = threading.Timer(PATIENCE, listening.kill)
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
