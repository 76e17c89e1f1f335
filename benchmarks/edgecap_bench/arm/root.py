"""The root folder of an emulated Arm board: Debian's Python for arm64, aarch64 wheels, and the emulator beside it.

Wheels have the versions that are installed here, so that both sides run the same release of every runtime.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from edgecap.errors import install_extra
from edgecap.util.files import write_atomically
from edgecap_bench.arm.packages import (
    BACKPORTS,
    FOREIGN,
    PYTHON,
    ArmLabError,
    PrivateApt,
    called,
    debian_mirror,
    install_wheels,
    unpack,
)
from edgecap_bench.arm.torch_packages import NEEDED, TOOLS, WITHOUT_DEPENDENCIES, install_torch

DEBIAN = (f"python{PYTHON}", "libportaudio2", "libgomp1")
EMULATOR = (f"qemu-user/{BACKPORTS}", f"qemu-user-static/{BACKPORTS}")
"""From 10.0 on the second is a link to the first's static programs."""
OLDEST_EMULATOR = 10
"""The 7.2 of Debian 12 itself crashes in ONNX Runtime and in XNNPACK."""
TEST_WHEELS = ("pytest", "onnx", "paho-mqtt")
"""What the runtime's tests need in addition: onnx writes their tiny models."""
STAMP = "made.json"
LAYOUT = 1
"""To be raised when roots of an older edgecap can no longer be used."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class ArmRoot:
    """A finished root."""

    folder: Path
    packages: dict[str, str]
    """Wheel → its version."""
    debian: dict[str, str]
    """Debian package → its version."""
    qemu: str
    """Version of the emulator."""

    @property
    def system(self) -> Path:
        """Debian's files for arm64."""
        return self.folder / "root"

    @property
    def wheels(self) -> Path:
        """Where aarch64 wheels were unpacked."""
        return self.folder / "wheels"

    @property
    def emulator(self) -> Path:
        """The program that runs an aarch64 Linux program."""
        return emulator(self.folder)


def emulator(folder: Path) -> Path:
    """Where the emulator lies in the lab's folder."""
    return folder / "emulator" / "usr" / "bin" / "qemu-aarch64-static"


def wanted_wheels(runtimes: Collection[str]) -> list[str]:
    """Requirements of the root: edgecap's own dependencies and those of its tests, pinned to the versions here.

    ONNX Runtime is always among them: the tests use it.

    Raises ArmLabError where one of them is not installed here: both sides must run the same.
    """
    own = [
        re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
        for line in requires("edgecap") or []
        if "extra ==" not in line
    ]
    return pinned([*own, *TEST_WHEELS, *(["ai-edge-litert"] if "litert" in runtimes else [])])


def pinned(names: Iterable[str]) -> list[str]:
    """ "name==version" of packages that are installed here. Raises ArmLabError for one that is not."""
    pins = []
    for name in dict.fromkeys(names):
        try:
            pins.append(f"{name}=={version(name).partition('+')[0]}")
        except PackageNotFoundError as error:
            raise ArmLabError(
                f"{name} is not installed here, and the Arm lab compares both sides with the same "
                f"versions; type: {install_extra('dev')}"
            ) from error
    return pins


def make_root(folder: Path, say: Say, runtimes: Collection[str]) -> ArmRoot:
    """The root in `folder`; it is made unless there is one with all packages in the versions of this machine.

    Raises ArmLabError.
    """
    folder = folder.resolve()
    wheels = wanted_wheels(runtimes)
    torch = pinned((*WITHOUT_DEPENDENCIES, *NEEDED)) if "executorch" in runtimes else []
    packages = dict(pin.split("==") for pin in (*wheels, *torch))
    layout = [LAYOUT, *DEBIAN, *EMULATOR]
    stamp = folder / STAMP
    made = json.loads(stamp.read_text(encoding="utf-8")) if stamp.is_file() else {}
    if made.get("layout") == layout and packages.items() <= made["packages"].items():
        say(f"using the arm64 root in {folder}")
        return ArmRoot(folder, made["packages"], made["debian"], made["qemu"])
    stamp.unlink(missing_ok=True)
    for part in ("apt", "root", "wheels", "emulator", "tools"):
        shutil.rmtree(folder / part, ignore_errors=True)
    mirror = debian_mirror()
    native = called(["dpkg", "--print-architecture"]).strip()
    apt = PrivateApt(folder / "apt", mirror, native)
    say("fetching Debian's lists of packages")
    apt.update()
    say("fetching the emulator")
    unpack(apt.alone(EMULATOR, folder / "apt" / "emulator"), folder / "emulator")
    for program in emulator(folder).parent.iterdir():
        if not program.name.startswith("qemu-aarch64"):  # 300 MB of other processors
            program.unlink()
    qemu = emulator_version(emulator(folder))
    say(f"fetching Debian's {', '.join(DEBIAN)} for {FOREIGN}")
    debs = apt.with_dependencies(DEBIAN, FOREIGN)
    unpack(debs, folder / "root")
    say(f"fetching {len(wheels)} wheels for aarch64 and their dependencies")
    install_wheels(wheels, folder / "wheels")
    if torch:
        say("fetching ExecuTorch and PyTorch for aarch64, and leaving CUDA out")
        unpack(apt.alone([TOOLS], folder / "apt" / "tools"), folder / "tools")
        install_torch(torch, folder / "wheels", folder / "tools", folder / "root")
    debian = {name: number.replace("%3a", ":") for name, number, _ in (path.stem.split("_", 2) for path in debs)}
    root = ArmRoot(folder, packages, debian, qemu)
    write_atomically(
        stamp, json.dumps({"layout": layout, "packages": packages, "debian": debian, "qemu": qemu}).encode()
    )
    for part in ("apt", "tools"):
        shutil.rmtree(folder / part, ignore_errors=True)
    return root


def emulator_version(program: Path) -> str:
    """Version of an emulator. Raises ArmLabError for one that is too old to run the runtimes."""
    version = re.search(r"version (\d+)\.(\S+)", called([str(program), "-version"]))
    if version is None or int(version[1]) < OLDEST_EMULATOR:
        raise ArmLabError(
            f"the emulator is {version[0] if version else 'of an unknown version'} and the runtimes need at "
            f"least {OLDEST_EMULATOR}.0; is {BACKPORTS} on the mirror?"
        )
    return f"{version[1]}.{version[2].rstrip(')')}"
