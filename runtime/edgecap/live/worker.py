"""One thread that captions, behind a mailbox that holds one window: the newest wins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class Worker(Generic[Job, Answer]):
    """Runs `work` on the newest job in a thread of its own. `submit` and `poll` never wait for it."""

    def __init__(self, work: Callable[[Job], Answer], ready: Callable[[], None] = lambda: None) -> None:
        """`ready` is called in the worker's thread after each answer."""
        self.dropped = 0
        """Jobs that a newer one replaced before they were begun."""
        self._work, self._ready = work, ready
        self._change = threading.Condition()
        self._job: Job | None = None
        self._busy = self._closed = False
        self._answers: list[Answer] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="edgecap captions", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        with self._change:
            return self._job is None and not self._busy

    def submit(self, job: Job) -> None:
        """Put a job into the mailbox; one that waits there is dropped and counted."""
        with self._change:
            self.dropped += self._job is not None
            self._job = job
            self._change.notify_all()

    def poll(self) -> list[Answer]:
        """Answers since the last call. Raises what `work` raised."""
        with self._change:
            if self._error is not None:
                raise self._error
            answers, self._answers = self._answers, []
            return answers

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing waits and nothing runs; whether that came before the timeout (seconds)."""
        with self._change:
            return self._change.wait_for(lambda: self._job is None and not self._busy, timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Drop what waits, let what runs come to its end, end the thread."""
        with self._change:
            self._job, self._closed = None, True
            self._change.notify_all()
        self._thread.join(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._job is not None or self._closed)
                if self._job is None:
                    return
                job, self._job, self._busy = self._job, None, True
            try:
                answer = self._work(job)
            except BaseException as error:  # handed to whoever polls
                with self._change:
                    self._error, self._busy = error, False
                    self._change.notify_all()
                self._ready()
                return
            with self._change:
                self._answers.append(answer)
                self._busy = False
                self._change.notify_all()
            self._ready()
