"""Starts measurements in processes of their own and takes in what they answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from edgecap.errors import EdgecapError

CHILD = Path(__file__).with_name("child.py")
ONE_THREAD_EACH = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Libraries that start threads of their own read these; the cores are given to ONNX Runtime alone."""
Progress = Callable[[int, int], None]


class Measurement:
    """How measurements are run: the cores they are kept on and the threads they may use."""

    def __init__(self, cores: Sequence[int], threads: int) -> None:
        self._cores = ",".join(map(str, cores))
        self._environment = {**os.environ, **dict.fromkeys(ONE_THREAD_EACH, str(threads))}

    def run(
        self,
        task: str,
        *arguments: str,
        progress: Progress = lambda done, total: None,
        part: Callable[[dict[str, Any]], object] = lambda part: None,
    ) -> dict[str, Any]:
        """Run one task of `child.py`; its result, with `wall_seconds` from the start of the process to its end.

        `part` is told what the task measures on its way, so that it is there if the task is cut short. Raises
        EdgecapError with the last line of its error output where it fails.
        """
        with tempfile.TemporaryFile("w+", errors="replace") as complaints:
            return self._run([task, *arguments], progress, part, complaints)

    def _run(
        self, words: Sequence[str], progress: Progress, part: Callable[[dict[str, Any]], object], complaints: IO[str]
    ) -> dict[str, Any]:
        """`complaints` is a file: a pipe that nobody reads while answers come could fill up and stop the child."""
        answers, pipe = os.pipe()
        command = [sys.executable, "-P", str(CHILD), str(pipe), self._cores, *words]
        result: dict[str, Any] | None = None
        begin = time.perf_counter()
        with os.fdopen(answers, encoding="utf-8") as lines:
            try:
                child = subprocess.Popen(
                    command,
                    pass_fds=[pipe],
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=complaints,
                )
            finally:
                os.close(pipe)
            with child:
                try:
                    for line in lines:
                        message = json.loads(line)
                        result = message.get("result", result)
                        if "progress" in message:
                            progress(*message["progress"])
                        if "part" in message:
                            part(message["part"])
                    child.wait()
                except BaseException:
                    child.kill()
                    raise
        wall = time.perf_counter() - begin
        if result is None or result.get("code", 0):
            complaints.seek(0)
            last = complaints.read().strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
            raise EdgecapError(f"the measurement {words[0]!r} failed: {last[0].removeprefix('edgecap: error: ')}")
        return {**result, "wall_seconds": wall}
