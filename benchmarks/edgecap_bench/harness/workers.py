"""Starts contestants in processes of their own and talks with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgecap.errors import MeasurementError
from edgecap_bench.harness.processes import ONE_THREAD_EACH

WORKER = Path(__file__).with_name("worker.py")


class MeasurementProcess:
    """One process of `worker.py`; leaving the context ends it."""

    def __init__(self, task: str, spec: Mapping[str, Any], cores: Sequence[int], threads: int) -> None:
        self._answers, pipe = os.pipe()
        environment = {**os.environ, **dict.fromkeys(ONE_THREAD_EACH, str(threads)), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-P", str(WORKER), str(pipe), ",".join(map(str, cores)), task, json.dumps(spec)]
        # no pipe: one that nobody reads while the process works could fill up and stop it
        self._complaints = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed with the process
        self.started = time.time()
        """Seconds since 1970, as the process itself tells its own times."""
        try:
            self._process = subprocess.Popen(
                command,
                pass_fds=[pipe],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                text=True,
            )
        finally:
            os.close(pipe)
        self._lines = os.fdopen(self._answers, encoding="utf-8")

    def ask(self, word: object) -> dict[str, Any]:
        """Send one word and wait for its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; its answer says of what
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next answer. Raises ContestantError for an error in the process or its end."""
        line = self._lines.readline()
        if not line:
            code = self._process.wait()
            self._complaints.seek(0)
            last = self._complaints.read().strip().splitlines()[-1:] or [f"exit code {code}"]
            raise MeasurementError(f"a contestant's process ended: {last[0]}", 1)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise MeasurementError(answer["error"], answer["exit_code"])
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `end`."""
        self.end()

    def end(self) -> None:
        """End the process at once; it writes nothing that is kept. A second time does nothing."""
        if self._lines.closed:
            return
        self._process.kill()
        self._process.communicate()
        self._lines.close()
        self._complaints.close()
