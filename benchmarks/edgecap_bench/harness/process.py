"""Runs measurements in child processes, kept on given cores, and reads what they report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgecap.errors import MeasurementError
from edgecap.util.progress import Progress, no_progress

CHILD = Path(__file__).with_name("child.py")
ONE_THREAD_EACH = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Libraries that start threads of their own read these variables."""
Part = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class Cores:
    """Where a child runs: the processor cores it is kept on (empty for any) and its number of threads."""

    numbers: tuple[int, ...]
    threads: int

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a child."""
        limits = dict.fromkeys(ONE_THREAD_EACH, str(self.threads))
        return {**os.environ, **limits, "HF_HUB_OFFLINE": "1"}


class MeasurementProcess:
    """One child, which ends at the latest with the context.

    It is in its own process group: Ctrl-C in the terminal reaches the parent alone, which decides what is kept.
    """

    def __init__(self, target: str, *arguments: object, cores: Cores) -> None:
        """Run `target`, "module:function", with arguments that are passed as strings (dictionaries as JSON)."""
        words = [word if isinstance(word, str) else json.dumps(word) for word in arguments]
        answers, pipe = os.pipe()
        numbers = ",".join(map(str, cores.numbers))
        # standard error goes to a file: a pipe that nobody reads could fill up and stop the child
        self._stderr = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed with the process
        self.started = time.time()
        """Unix time, which the child's own times compare with."""
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(CHILD), str(pipe), numbers, target, *words],
                pass_fds=[pipe],
                env=cores.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                text=True,
                process_group=0,
            )
        finally:
            os.close(pipe)
        self._lines = os.fdopen(answers, encoding="utf-8")

    def request(self, name: str, *arguments: object) -> Any:  # noqa: ANN401 - what the function answers
        """Send one request to a child that serves them, and wait for its result. Raises MeasurementError."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the child has ended; `result` says why
        return self.result()

    def result(self, progress: Progress = no_progress, part: Part = lambda part: None) -> Any:  # noqa: ANN401
        """The next result. Raises MeasurementError for an error in the child, with its exit code, and for its end."""
        for line in self._lines:
            message = json.loads(line)
            if "error" in message:
                error = MeasurementError(message["error"])
                error.exit_code = message["exit_code"]
                raise error
            if "result" in message:
                return message["result"]
            if "progress" in message:
                progress(*message["progress"])
            if "part" in message:
                part(message["part"])
        code = self._process.wait()
        self._stderr.seek(0)
        raise MeasurementError(f"a measuring process ended: {last_line(self._stderr.read(), code)}")

    def wait(self) -> None:
        """Wait for the end of the child, which has given its result."""
        self._process.communicate()

    def end(self) -> None:
        """Kill the child. A second time does nothing."""
        if not self._lines.closed:
            self._process.kill()
            self._process.communicate()
            self._lines.close()
            self._stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def run_measurement(
    target: str, *arguments: object, cores: Cores, progress: Progress = no_progress, part: Part = lambda part: None
) -> dict[str, Any]:
    """The result of `target` in a child, with `wall_seconds` from the start of the process to its end.

    `part` gets what the function reports on its way. Raises MeasurementError.
    """
    begin = time.perf_counter()
    with MeasurementProcess(target, *arguments, cores=cores) as process:
        result: dict[str, Any] = process.result(progress, part)
        process.wait()
        return {**result, "wall_seconds": time.perf_counter() - begin}


def last_line(stderr: str, code: int) -> str:
    """Why a program failed, by the last line that it printed, or its exit code where it printed none."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or [f"exit code {code}"]
    return lines[-1].removeprefix("edgecap: error: ")


def labelled(progress: Progress, label: str) -> Progress:
    """Progress of one part of a measurement under its label."""
    return lambda done, total, _="": progress(done, total, label)
