"""A room without a sound card: PulseAudio with a null sink, whose sound a microphone hears (through ALSA's plugin)."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from edgecap.errors import MissingDependencyError

NEEDED = ("pulseaudio", "paplay", "pactl")
START_SECONDS = 20.0


class Room:
    """A PulseAudio of its own; `environment` lets a program hear and play in it."""

    def __init__(self) -> None:
        """Start it. Raises MissingDependencyError without PulseAudio."""
        if not all(map(shutil.which, NEEDED)):
            raise MissingDependencyError(
                "this needs a PulseAudio of its own, which was not found; type: sudo apt "
                "install pulseaudio pulseaudio-utils libasound2-plugins libportaudio2"
            )
        self._folder = tempfile.TemporaryDirectory(prefix="edgecap-room-")
        home = Path(self._folder.name)
        (home / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        (home / "room.pa").write_text(
            f"load-module module-native-protocol-unix socket={home}/socket auth-anonymous=1\n"
            "load-module module-null-sink sink_name=room rate=48000 channels=1\nset-default-source room.monitor\n"
        )
        self.environment = {
            **os.environ,
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "EDGECAP_HOME": str(home),
            "PULSE_SERVER": f"unix:{home}/socket",
            "PULSE_RUNTIME_PATH": str(home),
        }
        self.environment.pop("XDG_CONFIG_HOME", None)
        self._players: list[subprocess.Popen[bytes]] = []
        self._daemon = subprocess.Popen(
            ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "-F", str(home / "room.pa")],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while not (home / "socket").exists():
            if time.monotonic() > deadline or self._daemon.poll() is not None:
                self.close()
                raise MissingDependencyError("PulseAudio did not start; see: pulseaudio --daemonize=no -n")
            time.sleep(0.05)

    def play(self, path: Path) -> subprocess.Popen[bytes]:
        """Play a sound file in the room."""
        player = subprocess.Popen(["paplay", "--device=room", str(path)], env=self.environment)
        self._players.append(player)
        return player

    def hush(self) -> None:
        """End what is played."""
        for player in self._players:
            player.kill()
            player.wait()
        self._players.clear()

    def close(self) -> None:
        """End it."""
        self.hush()
        self._daemon.terminate()
        self._daemon.wait(START_SECONDS)
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
