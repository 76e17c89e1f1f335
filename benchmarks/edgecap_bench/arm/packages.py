"""Debian packages and wheels, unpacked into a folder: nothing is installed into this system.

apt works with a private configuration (its own sources, lists and cache) on the mirror that this system's apt uses,
packages are unpacked by `dpkg -x`, wheels by `pip install --target`. No root rights are needed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecap.errors import MissingDependencyError, RunError
from edgecap_bench.harness.process import last_line

RELEASE, BACKPORTS = "bookworm", "bookworm-backports"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
FOREIGN = "arm64"
PYTHON = "3.11"
"""Python of that release."""
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
"""Wheels that run on the C library of that release; pip takes these names literally, so older ones are named too."""
DOWNLOAD_SECONDS = 900


class ArmLabError(RunError):
    """The Arm lab cannot be set up or run."""


@dataclass(frozen=True)
class Mirror:
    """A Debian mirror as this system's apt knows it."""

    address: str
    keyring: str


def debian_mirror() -> Mirror:
    """The mirror of Debian's main archive in this system's apt. Raises MissingDependencyError without apt, ArmLabError
    where its sources name no Debian archive.
    """
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise MissingDependencyError(
                f"the Arm lab needs {tool}, which is not installed; run it on a Debian or Ubuntu system"
            )
    return pick_mirror(called(["apt-get", "indextargets", "--format", "$(REPO_URI)|$(SIGNED_BY)"]))


def pick_mirror(targets: str) -> Mirror:
    """The first line "address|keyring" whose address is of Debian's main archive. Raises ArmLabError."""
    for line in targets.splitlines():
        address, _, keyring = line.partition("|")
        if address.rstrip("/").endswith("/debian"):
            return Mirror(address.rstrip("/"), keyring if Path(keyring).is_file() else KEYRING)
    raise ArmLabError(
        "this system's apt names no Debian archive (an address that ends in /debian); add one to its "
        "sources and type: apt-get update"
    )


class PrivateApt:
    """apt-get with sources, lists and a separate cache in `folder`."""

    def __init__(self, folder: Path, mirror: Mirror, native: str) -> None:
        """Write the configuration. `native` is Debian's name of this machine's architecture."""
        self._folder = folder
        for part in ("lists/partial", "archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "sources.list").write_text(
            f"deb [arch={native},{FOREIGN} signed-by={mirror.keyring}] {mirror.address} {RELEASE} main\n"
            f"deb [arch={native} signed-by={mirror.keyring}] {mirror.address} {BACKPORTS} main\n",
            encoding="utf-8",
        )
        self._configuration = folder / "apt.conf"
        lines = [
            f'Dir::Etc::SourceList "{folder}/sources.list";',
            'Dir::Etc::SourceParts "/dev/null";',
            'Dir::Etc::Preferences "/dev/null";',
            'Dir::Etc::PreferencesParts "/dev/null";',
            f'Dir::State "{folder}";',
            f'Dir::State::Lists "{folder}/lists";',
            f'Dir::Cache "{folder}";',
            'Dir::State::Status "/dev/null";',
            'APT::Sandbox::User "";',
            'Debug::NoLocking "1";',
            'Acquire::Retries "3";',
            f'APT::Architectures {{ "{native}"; "{FOREIGN}"; }};',
        ]
        self._configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def update(self) -> None:
        """Fetch the lists of packages. Raises ArmLabError."""
        self._run("update", "-q", "-o", "APT::Update::Error-Mode=any")

    def with_dependencies(self, packages: Sequence[str], architecture: str) -> list[Path]:
        """Fetch packages and their dependencies into the cache, as for an empty system; the .deb files."""
        options = ("-qy", "--no-install-recommends", "--download-only", "-o", f"APT::Architecture={architecture}")
        self._run("install", *options, *packages)
        return sorted((self._folder / "archives").glob("*.deb"))

    def alone(self, packages: Sequence[str], folder: Path) -> list[Path]:
        """Fetch the newest versions of packages for this machine, without dependencies, into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._run("download", "-q", *packages, folder=folder)
        return sorted(folder.glob("*.deb"))

    def _run(self, *arguments: str, folder: Path | None = None) -> str:
        return called(["apt-get", *arguments], environment={"APT_CONFIG": str(self._configuration)}, folder=folder)


def unpack(packages: Sequence[Path], root: Path) -> None:
    """Unpack .deb files into `root`. Raises ArmLabError."""
    root.mkdir(parents=True, exist_ok=True)
    for package in packages:
        called(["dpkg", "-x", str(package), str(root)])


def install_wheels(requirements: Sequence[str], folder: Path, *, alone: bool = False) -> None:
    """Unpack wheels for aarch64 into `folder`, with their dependencies unless `alone`. Raises ArmLabError.

    Nothing is compiled: little of a large package is ever imported, and this Python may be another release.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-compile", "--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON]
    command += ["--target", str(folder)]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    called([*command, *(["--no-deps"] if alone else []), *requirements])


def called(command: Sequence[str], *, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> str:
    """Run a program of this system; what it printed. Raises ArmLabError with its last line where it fails."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=DOWNLOAD_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ArmLabError(f"{command[0]} did not finish ({error}); try again") from error
    if done.returncode:
        reason = last_line(done.stderr, done.returncode)
        raise ArmLabError(
            f"{' '.join(command[:4])} … failed: {reason}; the Arm lab needs the package archives of Debian and PyPI"
        )
    return done.stdout
