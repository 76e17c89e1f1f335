"""One thread that captions for all streams. Each stream has a mailbox that holds one window: the newest wins.

Mailboxes are served in the order in which they were filled, so no stream can crowd out another, and one model serves
all of them: sixteen microphones hold sixteen windows, not sixteen models.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class Mailbox(Generic[Job, Answer]):
    """One stream's way to the worker. `submit` and `poll` never wait for it."""

    def __init__(self, worker: CaptionWorker, work: Callable[[Job], Answer]) -> None:
        self.dropped = 0
        """Jobs that a newer one replaced before they were begun."""
        self._worker, self._work = worker, work
        self._job: Job | None = None
        self._busy = False
        self._answers: list[Answer] = []
        self._error: BaseException | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        with self._worker.change:
            return self._idle()

    def submit(self, job: Job) -> None:
        """Put a job into the mailbox; one that waits there is dropped and counted."""
        with self._worker.change:
            self.dropped += self._job is not None
            if self._job is None:
                self._worker.filled.append(self)
            self._job = job
            self._worker.change.notify_all()

    def poll(self) -> list[Answer]:
        """Answers since the last call. Raises what `work` raised."""
        with self._worker.change:
            if self._error is not None:
                raise self._error
            answers, self._answers = self._answers, []
            return answers

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing waits and nothing runs; whether that took at most `timeout` seconds."""
        with self._worker.change:
            return self._worker.change.wait_for(self._idle, timeout)

    def empty(self) -> None:
        """Drop what waits."""
        with self._worker.change:
            self._job = None
            if self in self._worker.filled:
                self._worker.filled.remove(self)

    def take(self) -> Job | None:
        """The job, for the worker, which holds the lock."""
        job, self._job, self._busy = self._job, None, True
        return job

    def run(self, job: Job) -> None:
        """Do one job, in the worker's thread; an error is kept for the next `poll`."""
        try:
            answer = self._work(job)
        except BaseException as error:
            with self._worker.change:
                self._error = error
        else:
            with self._worker.change:
                self._answers.append(answer)
        finally:
            with self._worker.change:
                self._busy = False
                self._worker.change.notify_all()

    def _idle(self) -> bool:
        return self._job is None and not self._busy


class CaptionWorker:
    """The thread. Use it as a context manager, or close it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.change = threading.Condition()
        """Guards the state of this worker and of all its mailboxes, and is notified of its changes."""
        self.filled: deque[Mailbox[Any, Any]] = deque()
        """Mailboxes with a job, the one that has waited longest first."""
        self._clock = clock
        self._closed = False
        self._since: float | None = None
        self._thread = threading.Thread(target=self._run, name="edgecap captions", daemon=True)
        self._thread.start()

    @property
    def busy_seconds(self) -> float:
        """How long the current job has taken so far; 0 where there is none. For a watchdog."""
        with self.change:
            return 0.0 if self._since is None else self._clock() - self._since

    def mailbox(self, work: Callable[[Job], Answer]) -> Mailbox[Job, Answer]:
        """A new mailbox whose jobs are done by `work`."""
        return Mailbox(self, work)

    def close(self, timeout: float = 10.0) -> None:
        """Drop the jobs that wait, let the current one finish within `timeout` seconds, end the thread."""
        with self.change:
            for mailbox in tuple(self.filled):
                mailbox.empty()
            self._closed = True
            self.change.notify_all()
        self._thread.join(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            with self.change:
                self.change.wait_for(lambda: self.filled or self._closed)
                if not self.filled:
                    return
                mailbox = self.filled.popleft()
                job = mailbox.take()
                self._since = self._clock()
            mailbox.run(job)
            with self.change:
                self._since = None
