"""A microphone without a sound card: PulseAudio with a null sink, whose sound PortAudio hears through ALSA's plugin."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from ctypes.util import find_library
from pathlib import Path
from typing import Self

from edgecap.errors import MissingDependencyError

PROGRAMS = ("pulseaudio", "paplay", "pactl")
PLUGIN = "*/alsa-lib/libasound_module_pcm_pulse.so"
START_SECONDS = 20.0
SINK = "room"


class VirtualMicrophone:
    """A PulseAudio server with one sink; programs in `environment` play to it and record from it."""

    def __init__(self, *, rate: int = 48_000, channels: int = 1) -> None:
        """Start it. Raises MissingDependencyError where something that it needs is not installed."""
        installed = all(map(shutil.which, PROGRAMS)) and find_library("portaudio")
        if not installed or not list(Path("/usr/lib").glob(PLUGIN)):
            raise MissingDependencyError(
                "a virtual microphone needs PulseAudio, which was not found; type: sudo apt "
                "install pulseaudio pulseaudio-utils libasound2-plugins libportaudio2"
            )
        self._folder = tempfile.TemporaryDirectory(prefix="edgecap-microphone-")
        self.home = Path(self._folder.name)
        """The home folder of programs in `environment`."""
        self.server = f"unix:{self.home}/socket"
        self._sink = ("module-null-sink", f"sink_name={SINK}", f"rate={rate}", f"channels={channels}")
        self._set_alsa("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        (self.home / "pulse.pa").write_text(
            f"load-module module-native-protocol-unix socket={self.home}/socket auth-anonymous=1\n"
            f"load-module {' '.join(self._sink)}\nset-default-source {SINK}.monitor\n"
        )
        self.environment = {
            **os.environ,
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.home),
            "EDGECAP_HOME": str(self.home),
            "PULSE_SERVER": self.server,
            "PULSE_RUNTIME_PATH": str(self.home),
        }
        self.environment.pop("XDG_CONFIG_HOME", None)
        self._players: list[subprocess.Popen[bytes]] = []
        self._daemon: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the server, as if a sound card were plugged in."""
        self._daemon = subprocess.Popen(
            ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "-F", str(self.home / "pulse.pa")],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while not (self.home / "socket").exists():
            if time.monotonic() > deadline or self._daemon.poll() is not None:
                self.close()
                raise MissingDependencyError("PulseAudio did not start; see: pulseaudio --daemonize=no -n")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server, as if the sound card were pulled out."""
        self.hush()
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait(START_SECONDS)
            self._daemon = None

    def control(self, *arguments: str) -> str:
        """Run pactl; its output."""
        return subprocess.run(
            ["pactl", *arguments], env=self.environment, check=True, capture_output=True, text=True, timeout=20
        ).stdout.strip()

    def unplug(self) -> None:
        """Remove the sink; the server stays."""
        self.control("unload-module", "module-null-sink")

    def plug_in(self) -> None:
        """Add the sink again."""
        self.control("load-module", *self._sink)
        self.control("set-default-source", f"{SINK}.monitor")

    def show(self, **microphones: VirtualMicrophone) -> None:
        """Give programs in `environment` these microphones, by name, in place of the default one."""
        lines = (
            f"pcm.{name} {{ type pulse server {each.server} hint {{ show on description {name} }} }}\n"
            for name, each in microphones.items()
        )
        self._set_alsa("".join(lines))

    def play(self, path: Path) -> subprocess.Popen[bytes]:
        """Play a sound file to the microphone."""
        player = subprocess.Popen(["paplay", f"--device={SINK}", str(path)], env=self.environment)
        self._players.append(player)
        return player

    def hush(self) -> None:
        """End what is played."""
        for player in self._players:
            player.kill()
            player.wait()
        self._players.clear()

    def close(self) -> None:
        """End the server and remove its folder."""
        self.stop()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _set_alsa(self, text: str) -> None:
        (self.home / ".asoundrc").write_text(text)
