"""A real RTSP server, GStreamer's, as a camera with sound, without it, or with a password."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Self

import pytest

from support.ports import free_port

PYTHON = Path("/usr/bin/python3")
"""Debian's, which has GStreamer's bindings."""
NOISE = "( audiotestsrc is-live=true wave=white-noise ! audioconvert ! audio/x-raw,rate=16000,channels=1 ! {} )"
SOUND = NOISE.format("rtpL16pay name=pay0 pt=96")
PICTURE = "( videotestsrc is-live=true ! video/x-raw,width=64,height=64 ! jpegenc ! rtpjpegpay name=pay0 pt=26 )"
SERVER = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer as rtsp
Gst.init(None)
port, launch, *who = sys.argv[1:]
server, factory = rtsp.RTSPServer(), rtsp.RTSPMediaFactory()
server.set_address("127.0.0.1")
server.set_service(port)
factory.set_launch(launch)
if who:
    auth, token, role = rtsp.RTSPAuth(), rtsp.RTSPToken(), rtsp.RTSPPermissions()
    token.set_string("media.factory.role", "user")
    auth.add_basic(rtsp.RTSPAuth.make_basic(*who), token)
    server.set_auth(auth)
    for right in ("access", "construct"):
        role.add_permission_for_role("user", f"media.factory.{right}", True)
    factory.set_permissions(role)
server.get_mount_points().add_factory("/1", factory)
assert server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
"""


class RtspServer:
    """A camera of this machine at `url`; a test that needs it is skipped where Debian's packages are missing."""

    def __init__(self, launch: str = SOUND, *who: str) -> None:
        """`launch` is a pipeline of GStreamer; `who` a user and a password."""
        self.port, self._arguments = free_port(), (launch, *who)
        self.url = f"rtsp://127.0.0.1:{self.port}/1"
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Serve from now on."""
        try:
            self._process = subprocess.Popen(
                [PYTHON, "-c", SERVER, str(self.port), *self._arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError:
            pytest.skip("no python3 of the system")
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self.stop()
            pytest.skip("needs: apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good")

    def stop(self) -> None:
        """The camera is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()
