"""Python on an emulated Arm processor, as if it were a program of this machine.

A small script starts the emulator, and it is what the emulated Python believes itself to be (`sys.executable`), so
that programs which start Python again are emulated too, without a kernel that knows foreign programs (binfmt_misc).
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecap_bench.arm.packages import PYTHON, ArmLabError
from edgecap_bench.arm.root import ArmRoot


@dataclass(frozen=True)
class Board:
    """A board whose processor the emulator knows."""

    name: str
    processor: str
    """As the emulator calls it."""
    lacks: str
    """Instructions for neural networks that it has not; empty for none."""


BOARDS = (
    Board("Raspberry Pi 4", "cortex-a72", "no int8 dot product, no float16 arithmetic"),
    Board("Raspberry Pi 5", "cortex-a76", ""),
)


FOREIGN_SETTINGS = ("PYTHON", "QEMU_", "LD_")
"""Variables that are meant for this machine's own Python, emulator or loader."""


class InterruptedRunError(ArmLabError):
    """Ctrl-C ended an emulated program, as it ends the lab."""


class EmulatedPython:
    """The Python of an arm64 root on one processor."""

    def __init__(self, root: ArmRoot, board: Board, paths: Sequence[Path]) -> None:
        """Write the starting script. `paths` are folders that Python finds packages in, besides the root's wheels.

        Nothing of this machine's own Python is seen: home and path are the root's.
        """
        self.board = board
        self.program = root.folder / f"python-{board.processor}"
        places = ":".join(map(str, (root.wheels, *paths)))
        python = root.system / "usr" / "bin" / f"python{PYTHON}"
        self.program.write_text(
            "\n".join(
                [
                    "#!/bin/sh",
                    "# Written by edgecap's Arm lab.",
                    f"export PYTHONHOME={shlex.quote(str(root.system / 'usr'))} PYTHONNOUSERSITE=1",
                    # a program that sets its own path finds that first
                    f"export PYTHONPATH=${{PYTHONPATH:+$PYTHONPATH:}}{shlex.quote(places)}",
                    f"exec {shlex.quote(str(root.emulator))} -cpu {board.processor} \\",
                    f"    -L {shlex.quote(str(root.system))} \\",
                    f'    -0 {shlex.quote(str(self.program))} {shlex.quote(str(python))} "$@"',
                    "",
                ]
            ),
            encoding="utf-8",
        )
        self.program.chmod(0o755)

    def run(self, *arguments: str, folder: Path, seconds: float) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments in `folder`, for at most so many seconds.

        Raises ArmLabError past them, InterruptedRunError after Ctrl-C.
        """
        environment = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN_SETTINGS)}
        environment["OMP_NUM_THREADS"] = "1"
        try:
            done = subprocess.run(
                [str(self.program), *arguments],
                env=environment,
                cwd=folder,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=seconds,
            )
            if done.returncode in (-signal.SIGINT, 128 + signal.SIGINT):
                raise InterruptedRunError(f"{' '.join(arguments[:4])} … was interrupted")
            return done
        except subprocess.TimeoutExpired as error:
            raise ArmLabError(
                f"{' '.join(arguments[:4])} … did not end in {seconds:g} s on the emulated processor; "
                "give it an idle machine, or more time with --patience"
            ) from error
        except OSError as error:
            raise ArmLabError(
                f"{self.program} cannot be started ({error}); remove {self.program.parent} and try again"
            ) from error
