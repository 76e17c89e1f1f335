"""A real S3 interface on this machine: moto's server as a process of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.mqtt_parts import eventually
from support.ports import free_port

MOTO = Path(sys.executable).with_name("moto_server")
AVAILABLE = MOTO.exists() or shutil.which("moto_server") is not None


class S3Server:
    """An empty store with a bucket "sounds"."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def system(self) -> Any:
        """A file system of s3fs for looking at what is there."""
        import s3fs

        return s3fs.S3FileSystem(endpoint_url=self.url, key="test", secret="test", use_listings_cache=False)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server for as long as the block lasts."""
    port = free_port()
    command = [str(MOTO) if MOTO.exists() else "moto_server", "-H", "127.0.0.1", "-p", str(port)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            eventually(lambda: process.poll() is not None or _listens(port), seconds=60.0)
            assert process.poll() is None, "moto_server ended"
            server = S3Server(port)
            server.system().mkdir("sounds")
            yield server
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
