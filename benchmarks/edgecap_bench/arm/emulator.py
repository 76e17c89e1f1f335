"""Python on an emulated Arm processor, as if it were a program of this machine.

A small script starts the emulator. It is the `sys.executable` of the emulated Python, so programs that start Python
again are emulated too, without kernel support for foreign programs (binfmt_misc).
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
    """Its name in the emulator."""


BOARDS = (
    Board("Raspberry Pi 4", "cortex-a72"),  # without int8 dot products and float16 arithmetic
    Board("Raspberry Pi 5", "cortex-a76"),
)
FOREIGN_SETTINGS = ("PYTHON", "QEMU_", "LD_")
"""Prefixes of variables that configure this machine's Python, emulator or loader."""


class InterruptedRunError(ArmLabError):
    """Ctrl-C ended an emulated program, as it ends the lab."""


class EmulatedPython:
    """The Python of an arm64 root on one processor."""

    def __init__(self, root: ArmRoot, board: Board, paths: Sequence[Path]) -> None:
        """Write the starting script. `paths` are folders that Python finds packages in, besides the root's wheels.

        This machine's own Python is out of reach: home and path are the root's.
        """
        self.board = board
        self.program = root.folder / f"python-{board.processor}"
        places = ":".join(map(str, (root.wheels, *paths)))
        executable = root.system / "usr" / "bin" / f"python{PYTHON}"
        home, system, emulator, program, path, python = map(
            shlex.quote, map(str, (root.system / "usr", root.system, root.emulator, self.program, places, executable))
        )
        lines = [
            "#!/bin/sh",
            "# Written by edgecap's Arm lab.",
            f"export PYTHONHOME={home} PYTHONNOUSERSITE=1",
            # a program that sets its own path finds that first
            f"export PYTHONPATH=${{PYTHONPATH:+$PYTHONPATH:}}{path}",
            f'exec {emulator} -cpu {board.processor} -L {system} -0 {program} {python} "$@"',
        ]
        self.program.write_text("\n".join(lines) + "\n", encoding="utf-8")
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
