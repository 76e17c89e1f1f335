"""A real PulseAudio without a sound card, and what a listener in it prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile

from support.signals import noise


def _missing_parts() -> str:
    """What a machine lacks for a real microphone without a sound card; empty where it lacks nothing."""
    if not shutil.which("pulseaudio") or not shutil.which("paplay"):
        return "pulseaudio and pulseaudio-utils are not installed"
    if not find_library("portaudio"):
        return "libportaudio2 is not installed"
    if not list(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")):
        return "libasound2-plugins is not installed"
    return ""


@dataclass
class Room:
    """A PulseAudio with one sink whose sound is what the microphone hears."""

    environment: dict[str, str]

    def control(self, *arguments: str) -> str:
        return subprocess.run(
            ["pactl", *arguments], env=self.environment, check=True, capture_output=True, text=True, timeout=20
        ).stdout.strip()

    def play(self, path: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["paplay", "--device=room", str(path)], env=self.environment)

    def listen(self, model: Path, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "edgecap", "listen", "--model", str(model), *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    if _missing_parts():
        pytest.skip(_missing_parts())
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    # PortAudio reaches PulseAudio through ALSA's plugin.
    (home / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
    (home / "room.pa").write_text(
        f"load-module module-native-protocol-unix socket={home}/socket auth-anonymous=1\n"
        "load-module module-null-sink sink_name=room rate=48000 channels=2\n"
        "set-default-source room.monitor\n"
    )
    environment = {
        **os.environ,
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "PULSE_SERVER": f"unix:{home}/socket",
        "PULSE_RUNTIME_PATH": str(home),
        "EDGECAP_HOME": str(home),
    }
    environment.pop("XDG_CONFIG_HOME", None)
    with (tmp_path / "pulse.log").open("wb") as log:
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "-F", str(home / "room.pa")]
        daemon = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        room = Room(environment)
        for _ in range(200):
            if (home / "socket").exists():
                break
            assert daemon.poll() is None, (tmp_path / "pulse.log").read_text()
            time.sleep(0.05)
        assert "room.monitor" in room.control("list", "short", "sources")
        yield room
    finally:
        daemon.terminate()
        daemon.wait(timeout=20)


@pytest.fixture
def long_noise(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "noise.wav", noise(60, 48_000), 48_000)
    return tmp_path / "noise.wav"


def until(listening: subprocess.Popen[str], words: str) -> str:
    """Lines of standard error up to the one with these words."""
    assert listening.stderr is not None
    lines = []
    watch = threading.Timer(30.0, listening.kill)
    watch.start()
    try:
        for line in listening.stderr:
            lines.append(line)
            if words in line:
                return "".join(lines)
    finally:
        watch.cancel()
    raise AssertionError(f"it ended without saying {words!r}: {''.join(lines)}")
