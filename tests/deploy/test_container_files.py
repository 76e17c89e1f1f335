"""The files of the container and of the installation, as far as they can be checked without building it."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import yaml  # type: ignore[import-untyped]

from edgecap.live.config.config_file import load_config
from support.source_tree import REPOSITORY

CONTAINER = REPOSITORY / "deploy" / "container"
INSTALL = REPOSITORY / "deploy" / "raspberry" / "install.sh"


def test_what_the_image_is_made_of_is_there_and_passes_the_filter() -> None:
    lines = [line for line in (CONTAINER / "Dockerfile").read_text().splitlines() if re.match("COPY (?!--from)", line)]
    sources = [word for line in lines for word in line.split()[1:-1]]
    admitted = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(sources) == admitted
    assert all((REPOSITORY / source).exists() for source in sources)


def test_the_services_use_files_that_are_there_and_a_configuration_that_edgecap_reads() -> None:
    services = yaml.safe_load((CONTAINER / "compose.yaml").read_text())["services"]
    mounts = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
    assert all((CONTAINER / mount).exists() for mount in mounts if mount.startswith("./"))
    config = load_config(CONTAINER / "listen.toml")
    assert config.mqtt.host in services
    assert config.web.address is not None
    assert f"127.0.0.1:8080:{config.web.address.rpartition(':')[2]}" in services["edgecap"]["ports"]


def test_the_installation_is_sound_shell_and_says_what_it_needs() -> None:
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(INSTALL)], check=True)
    result = subprocess.run([str(INSTALL)], check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert re.fullmatch(r"(name edgecap's wheel|it installs packages; type: sudo ).*\n", result.stderr)


@pytest.mark.parametrize("name", ["Dockerfile", "README.md"])
def test_the_image_says_that_cameras_need_ffmpeg(name: str) -> None:
    assert "--build-arg EXTRA=ffmpeg" in (CONTAINER / name).read_text()
